"""A cluster with a store: its queue and its results survive controller, clients and engines.

Real processes and real files; what the files endure is tried in `src/store/tests`.
"""

import collections
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import oarlock
from oarlock import error
from oarlock.cluster import registry

NAME = "kept"
PATIENCE = 30


def command(*arguments):
    return [sys.executable, "-m", "oarlock", *arguments]


def run(*arguments):
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=60, check=False
    )


class Kept:
    """A standalone cluster with a store, which is killed and started again."""

    def __init__(self, directory, wait_exit):
        self.directory = directory
        self.store = directory / "store"
        self._wait_exit = wait_exit
        self._clients = []

    def start(self, *options):
        """Start it, or start it again; gives its record."""
        done = self.try_start(*options)
        assert done.returncode == 0, done.stderr
        (self.record,) = registry.list_clusters()
        return self.record

    def try_start(self, *options, name=NAME):
        start = ("start", "-n", "2", "--daemonize", "--cluster-id", name)
        return run(*start, "--store", str(self.store), *options)

    def stop(self):
        """Stop it in order."""
        done = run("stop", NAME)
        assert done.returncode == 0, done.stderr

    def kill(self):
        """Kill the controller, and wait until nobody holds its place."""
        os.kill(self.record.pid, signal.SIGKILL)
        assert self._wait_exit(self.record.pid, PATIENCE)

    def kill_engines(self, pids):
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            assert self._wait_exit(pid, PATIENCE)

    def connect(self, **options):
        return oarlock.Client(cluster_id=NAME, **options)

    def submit_elsewhere(self, source):
        """Another process submits; gives it when it has done so, and the message ids."""
        ids = self.directory / f"ids-{len(self._clients)}"
        script = (
            f"import json, os, time, oarlock\nrc = oarlock.Client(cluster_id={NAME!r})\n"
            f"lview = rc.load_balanced_view()\n{source}\n"
            # Its answer comes after what was submitted before, if that is small.
            "rc.queue_status()\n"
            f"json.dump(ar.msg_ids, open('{ids}.new', 'w'))\nos.rename('{ids}.new', '{ids}')\n"
            "time.sleep(1000)\n"
        )
        process = subprocess.Popen([sys.executable, "-c", script])
        self._clients.append(process)
        wait_until(ids.exists, "it does not submit")
        return process, json.loads(ids.read_text())

    def kill_clients(self):
        for client in self._clients:
            client.kill()
            client.wait()

    @property
    def log(self):
        """What the controller wrote."""
        return Path(self.record.log_directory, "controller.log").read_text()

    def size(self):
        """Bytes of the files of the journal."""
        size = 0
        for file in self.store.glob("*.journal"):
            with contextlib.suppress(FileNotFoundError):  # it is removed when it is empty
                size += file.stat().st_size
        return size


def wait_until(what, reason):
    """Wait for something that another process does; there is no event to wait on."""
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline, reason
        time.sleep(0.005)


@pytest.fixture
def kept(leaks, tmp_path, wait_exit):
    """A cluster with a store that is not started yet."""
    cluster = Kept(tmp_path, wait_exit)
    yield cluster
    cluster.kill_clients()
    for left in [*registry.list_clusters(), *registry.list_headless()]:
        run("stop", left.cluster_id)
    leaks.check()


class Marks:
    """Where tasks write down that they run; `source` defines `mark` in a client."""

    def __init__(self, directory):
        self._path = directory / "marks"
        self._path.touch()
        self.source = (
            f"def mark(item, path={str(self._path)!r}):\n"
            "    import os, time\n"
            "    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)\n"
            "    os.write(file, f'{item}\\n'.encode())\n"
            "    os.close(file)\n"
            "    time.sleep(0.0005)\n"
            "    return -item\n"
        )

    def counts(self):
        return collections.Counter(map(int, self._path.read_text().split()))

    def __len__(self):
        return self._path.read_text().count("\n")


@pytest.fixture
def marks(tmp_path):
    return Marks(tmp_path)


def test_a_new_client_gets_all_results_after_controller_and_client_were_killed(kept, marks):
    kept.start()
    _, ids = kept.submit_elsewhere(
        marks.source + "ar = lview.map_async(mark, range(2_000), chunksize=1)"
    )
    wait_until(lambda: len(marks) >= 500, "the map does not get on")
    kept.kill_clients()
    kept.kill()
    kept.start()
    with kept.connect() as rc:
        assert rc.get_result(ids).get(PATIENCE) == [-item for item in range(2_000)]
    assert set(marks.counts().values()) == {1}


def test_where_engines_are_killed_too_what_was_begun_is_in_doubt_and_the_rest_runs(kept, marks):
    kept.start()
    with kept.connect() as rc:
        pids = rc[:].apply_sync(os.getpid)
    _, ids = kept.submit_elsewhere(
        marks.source + "lview.retries = 1\nar = lview.map_async(mark, range(2_000), chunksize=1)"
    )
    wait_until(lambda: len(marks) >= 500, "the map does not get on")
    kept.kill_clients()
    kept.kill()
    kept.kill_engines(pids)
    ran = marks.counts()
    assert set(ran.values()) == {1}
    kept.start()
    with kept.connect() as rc:
        assert rc.get_result(ids).get(PATIENCE) == [-item for item in range(2_000)]
    counts = marks.counts()
    assert set(counts) == set(range(2_000))
    twice = [item for item, count in counts.items() if count > 1]
    # Only what was with an engine: not more than is given ahead.
    assert len(twice) <= 2 * 256
    assert max(counts.values()) <= 2


def test_also_without_its_directory_nothing_in_doubt_is_run_again(kept, marks):
    """As after a reboot."""
    kept.start()
    with kept.connect() as rc:
        pids = rc[:].apply_sync(os.getpid)
    _, ids = kept.submit_elsewhere(
        marks.source + "ar = lview.map_async(mark, range(2_000), chunksize=1)"
    )
    wait_until(lambda: len(marks) >= 500, "the map does not get on")
    kept.kill_clients()
    kept.kill()
    kept.kill_engines(pids)
    shutil.rmtree(kept.record.directory)
    kept.start()
    with kept.connect() as rc:
        ar = rc.get_result(ids)
        values = ar.get(PATIENCE, return_exceptions=True)
    lost = [value for value in values if isinstance(value, error.EngineLost)]
    assert 0 < len(lost) <= 2 * 256
    assert [value for value in values if value not in lost] == [
        -item for item, value in enumerate(values) if value not in lost
    ]
    assert set(marks.counts().values()) == {1}


def test_a_cluster_that_is_stopped_in_order_goes_on_with_its_queue(kept, gate, marks):
    kept.start()
    with kept.connect() as rc:
        held = rc.load_balanced_view().map_async(gate.hold, range(2), chunksize=1)
        gate.wait_begun(2)
        _, ids = kept.submit_elsewhere(
            marks.source + "ar = lview.map_async(mark, range(200), chunksize=1)"
        )
        held_ids = held.msg_ids
    kept.kill_clients()
    kept.stop()
    assert not marks.counts()
    kept.start()
    with kept.connect() as rc:
        assert rc.get_result(ids).get(PATIENCE) == [-item for item in range(200)]
        values = rc.get_result(held_ids).get(PATIENCE, return_exceptions=True)
    assert [type(value) for value in values] == [error.EngineLost] * 2, "these had been begun"
    assert set(marks.counts().values()) == {1}


def test_results_that_nobody_fetched_stay_until_they_are_fetched_or_purged(kept):
    kept.start()
    _, ids = kept.submit_elsewhere(
        "ar = lview.map_async(lambda number: bytes([number]) * 100_000, range(20), chunksize=1)"
    )
    kept.kill_clients()
    with kept.connect() as rc:
        rc.get_result(ids).wait(PATIENCE)
    for _ in range(3):
        kept.stop()
        kept.start()
        with kept.connect() as rc:
            values = rc.get_result(ids).get(PATIENCE)
            assert values == [bytes([number]) * 100_000 for number in range(20)]
    with kept.connect() as rc:
        rc.purge_results(ids[:10])
    kept.kill()
    kept.start()
    with kept.connect() as rc:
        with pytest.raises(error.UnknownTask):
            rc.get_result(ids[0]).get(PATIENCE)
        assert rc.get_result(ids[10]).get(PATIENCE) == bytes([10]) * 100_000
        rc.purge_everything()
    kept.stop()
    kept.start()
    with kept.connect() as rc:
        with pytest.raises(error.UnknownTask):
            rc.get_result(ids[10]).get(PATIENCE)
        assert rc.hub_history() == []


def test_the_store_becomes_smaller_when_results_were_taken(kept):
    kept.start()
    megabytes = 1_000_000
    with kept.connect() as rc:
        lview = rc.load_balanced_view()
        for _ in range(12):
            lview.map(lambda _: b"x" * megabytes, range(40), chunksize=1).get(PATIENCE)
            # The newest 64 MiB stay, as without a store; twice what counts, and four files.
            assert kept.size() < 300 * megabytes
        rc.purge_everything()
        wait_until(lambda: kept.size() < 70 * megabytes, "it does not become smaller")


def test_a_client_that_lives_asks_again_and_nothing_is_run_twice(kept, marks):
    kept.start()
    space = {}
    exec(marks.source, space)
    with kept.connect() as rc:
        ar = rc.load_balanced_view().map_async(space["mark"], range(4_000), chunksize=1)
        for done in (1_000, 2_000):
            wait_until(lambda done=done: ar.progress >= done, "the map does not get on")
            kept.kill()
            kept.start()
        assert ar.get(PATIENCE) == [-item for item in range(4_000)]
    assert set(marks.counts().values()) == {1}


def test_a_second_controller_on_the_same_store_is_refused_and_told_whose_it_is(kept):
    record = kept.start()
    done = kept.try_start(name="other")
    assert done.returncode == 1
    assert f"is in use by process {record.pid}" in done.stderr
    assert [record.cluster_id for record in registry.list_clusters()] == [NAME]


def test_a_store_that_others_may_enter_is_refused(kept):
    kept.store.mkdir(mode=0o755)
    kept.store.chmod(0o755)
    done = kept.try_start()
    assert done.returncode == 1
    assert "chmod 700" in done.stderr
    shutil.rmtree(kept.store)
    kept.start()
    assert kept.store.stat().st_mode & 0o777 == 0o700
    status = json.loads(run("status", "--json").stdout)
    assert [row["store"] for row in status] == [str(kept.store)]


@pytest.fixture
def finished(kept):
    """The message ids of forty results nobody fetched, in the store of a stopped cluster."""
    kept.start()
    _, ids = kept.submit_elsewhere(
        "ar = lview.map_async(lambda item: bytes([item]) * 5_000, range(40), chunksize=1)"
    )
    kept.kill_clients()
    with kept.connect() as rc:
        assert rc.get_result(ids).wait(PATIENCE)
    kept.stop()
    return ids


def test_a_torn_end_is_cut_off_and_told_and_the_rest_is_served(kept, finished):
    (file,) = kept.store.glob("*.journal")
    # The last record is that of the function, which nobody needed any more.
    size = file.stat().st_size - 10
    os.truncate(file, size)
    kept.start()
    (line,) = [line for line in kept.log.splitlines() if "ended within a record" in line]
    assert line.startswith(f"oarlock: store: {file} ended within a record: ")
    cut = int(line.partition(" bytes from byte ")[2].split()[0])
    assert 0 < size - cut < 100
    with kept.connect() as rc:
        values = rc.get_result(finished).get(PATIENCE)
    assert values == [bytes([item]) * 5_000 for item in range(40)]


def test_a_flipped_bit_is_told_by_its_place_and_costs_what_it_hit(kept, finished):
    (file,) = kept.store.glob("*.journal")
    data = bytearray(file.read_bytes())
    place = data.index(bytes([20]) * 5_000) + 1_000
    data[place] ^= 4
    file.write_bytes(data)
    kept.start()
    (line,) = [line for line in kept.log.splitlines() if "is damaged at byte" in line]
    aside = f"{file}.damaged"
    assert line.startswith(f"oarlock: store: {aside} is damaged at byte "), line
    begin = int(line.partition(" at byte ")[2].split()[0])
    assert begin < place < begin + 6_000
    assert "an outcome" in line
    assert os.path.getsize(aside) == len(data)
    with kept.connect() as rc:
        others = rc.get_result([*finished[:20], *finished[21:]])
        assert [value[0] for value in others.get(PATIENCE)] == [*range(20), *range(21, 40)]
        with pytest.raises(error.TaskRefused, match="is damaged at byte") as caught:
            rc.get_result(finished[20]).get(PATIENCE)
        assert f"{aside} is damaged at byte {begin} " in str(caught.value)


@pytest.fixture
def small_disk(kept):
    """The store lies on a disk of 1 MiB."""
    kept.store.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "oarlock-test", str(kept.store)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    yield kept
    kept.kill_clients()
    run("stop", NAME)
    subprocess.run(["umount", "-l", str(kept.store)], check=True)


def test_a_full_disk_refuses_what_is_new_and_serves_what_there_is_and_recovers(small_disk, gate):
    kept = small_disk
    kept.start()
    ballast = kept.store / "ballast"
    with kept.connect() as rc:
        lview = rc.load_balanced_view()
        done = lview.apply_async(lambda: "before")
        assert done.get(PATIENCE) == "before"
        begun = [lview.apply_async(gate.hold, bytes(1_000)) for _ in range(2)]
        gate.wait_begun(2)
        size = 1_000_000
        with open(ballast, "wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                size -= file.write(bytes(min(4096, size)))
        # More than what is left of the last page.
        refused = lview.apply_async(len, bytes(10_000))
        with pytest.raises(error.TaskRefused, match="no space left for") as caught:
            refused.get(PATIENCE)
        assert str(kept.store) in str(caught.value)
        assert "hint: make room" in str(caught.value)
        gate.release(2)
        assert [result.get(PATIENCE) for result in begun] == [bytes(1_000)] * 2
        assert rc.get_result(done.msg_ids[0]).get(PATIENCE) == "before"
        ballast.unlink()
        assert lview.map(abs, range(-50, 0)).get(PATIENCE) == list(range(50, 0, -1))
        ids = [result.msg_ids[0] for result in begun]
    kept.kill()
    kept.start()
    with kept.connect() as rc:
        assert rc.get_result(ids).get(PATIENCE) == [bytes(1_000)] * 2


def test_what_does_not_even_fit_into_the_reserve_is_kept_in_memory_until_there_is_room(small_disk):
    kept = small_disk
    kept.start()
    with kept.connect() as rc:
        # Together far more than the disk has.
        ar = rc.load_balanced_view().map_async(
            lambda _: os.urandom(200_000), range(20), chunksize=1
        )
        ids = ar.msg_ids
        values = ar.get(PATIENCE)
        with pytest.raises(error.TaskRefused, match="no space left for"):
            rc.load_balanced_view().apply_async(abs, -1).get(PATIENCE)
        assert rc.get_result(ids[-1]).get(PATIENCE) == values[-1]
        rc.purge_results(ids[1:])
        lview = rc.load_balanced_view()
        subprocess.run(["mount", "-o", "remount,size=16m", str(kept.store)], check=True)
        wait_until(lambda: lview.apply_async(abs, -1).exception(PATIENCE) is None, "still refused")
    kept.kill()
    kept.start()
    with kept.connect() as rc:
        assert rc.get_result(ids[0]).get(PATIENCE) == values[0]
        with pytest.raises(error.UnknownTask):
            rc.get_result(ids[1]).get(PATIENCE)
