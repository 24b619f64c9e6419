"""A store on a disk that is full: what is refused, what goes on, and what is told at the end.

The disk is a small file system of its own, which only root may mount; others are told so.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from oarlock import error

from .kept import NAME, PATIENCE
from .standalone import run
from .waiting import wait_until


@pytest.fixture
def small_disk(kept):
    """The store lies on a disk of 1 MiB."""
    kept.store.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "oarlock-test", str(kept.store)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    yield kept
    kept.close()
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


def grow(kept, size="16m"):
    subprocess.run(["mount", "-o", f"remount,size={size}", str(kept.store)], check=True)


def test_what_has_no_room_when_the_cluster_stops_is_told_and_ends_with_an_error(small_disk, marks):
    kept = small_disk
    kept.start()
    mark = marks.function()
    with kept.connect() as rc:

        def large(item):
            mark(item)
            return bytes([item]) * 200_000

        # Together far more than the disk has.
        ar = rc.load_balanced_view().map_async(large, range(20), chunksize=1)
        ids, session = ar.msg_ids, rc.session
        assert ar.wait(PATIENCE)
    done = run("stop", kept.record.cluster_id)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "not written when the cluster stopped (no space left for " in line
    count = int(line.partition("; ")[2].split()[0])
    assert f"{count} results of session {session} ({count}): their tasks end as refused" in line
    assert "is stopped" in done.stdout
    assert run("status").stdout.startswith("no cluster runs")
    grow(kept)
    kept.start()
    with kept.connect() as rc:
        values = rc.get_result(ids).get(PATIENCE, return_exceptions=True)
    refused = [value for value in values if isinstance(value, error.TaskRefused)]
    assert len(refused) == count > 0
    assert "could not be stored before the cluster stopped" in str(refused[0])
    for item, value in enumerate(values):
        assert value in refused or value == bytes([item]) * 200_000
    assert set(marks.counts().values()) == {1}


def test_a_controller_in_the_foreground_says_so_itself(small_disk):
    kept = small_disk
    command = [sys.executable, "-m", "oarlock", "start", "-n", "1", "--cluster-id", NAME]
    controller = subprocess.Popen(
        [*command, "--store", str(kept.store)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert "runs with 1 engine" in controller.stdout.readline()
    with kept.connect() as rc:
        view = rc.load_balanced_view()
        assert view.map_async(lambda _: os.urandom(400_000), range(9), chunksize=1).wait(PATIENCE)
    controller.terminate()
    _, told = controller.communicate(timeout=PATIENCE)
    assert controller.returncode == 1
    assert f"oarlock: store {kept.store}: not written when the cluster stopped" in told


def test_nothing_is_begun_that_cannot_be_written_down(small_disk, marks):
    kept = small_disk
    kept.start()
    with kept.connect() as rc:
        pids = rc[:].apply_sync(os.getpid)
    _, ids = kept.submit_elsewhere(
        marks.source + "def task(item, mark=mark):\n    mark(item)\n    return bytes(3_000)\n"
        # Three megabytes of results and more: their engines hold places in the ledger until they
        # are written, and there is no room for more places.
        "ar = lview.map_async(task, range(3_000), chunksize=1)"
    )
    door = Path(kept.record.directory, "door.log")
    note = "what is given to engines cannot be written down"
    wait_until(lambda: note in door.read_text(), "the ledger has room")
    kept.kill_clients()
    kept.kill()
    kept.kill_engines(pids)
    begun = marks.counts()
    assert len(begun) < 3_000
    grow(kept)
    kept.start()
    with kept.connect() as rc:
        values = rc.get_result(ids).get(2 * PATIENCE, return_exceptions=True)
    counts = marks.counts()
    assert set(counts.values()) == {1}
    lost = [value for value in values if isinstance(value, error.EngineLost)]
    assert len([value for value in values if value == bytes(3_000)]) == 3_000 - len(lost)


def test_what_waits_for_the_ledger_goes_on_when_there_is_room(small_disk, marks):
    kept = small_disk
    kept.start()
    mark = marks.function()
    with kept.connect() as rc:

        def task(item):
            mark(item)
            return bytes(3_000)

        ar = rc.load_balanced_view().map_async(task, range(3_000), chunksize=1)
        door = Path(kept.record.directory, "door.log")
        note = "what is given to engines cannot be written down"
        wait_until(lambda: note in door.read_text(), "the ledger has room")
        grow(kept)
        assert ar.get(2 * PATIENCE) == [bytes(3_000)] * 3_000
    assert set(marks.counts().values()) == {1}
