"""A cluster with a store: its queue and its results survive controller, clients and engines.

Real processes and real files; what the files endure is tried in `src/store/tests`, a full disk in
`test_store_full.py`.
"""

import json
import os
import shutil

import pytest

from oarlock import error
from oarlock.cluster import registry

from .kept import NAME, PATIENCE
from .standalone import run
from .waiting import wait_until


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
    with kept.connect() as rc:
        ar = rc.load_balanced_view().map_async(marks.function(), range(4_000), chunksize=1)
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
    assert 0 < size - cut < 200
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


def test_a_task_that_was_cancelled_while_it_ran_is_not_run_again(kept, marks):
    kept.start()
    with kept.connect() as rc:
        pids = rc[:].apply_sync(os.getpid)
    _, ids = kept.submit_elsewhere(
        marks.source + "def stubborn(item, mark=mark):\n"
        "    import time\n"
        "    mark(item)\n"
        "    while True:\n"
        "        try:\n"
        "            time.sleep(1000)\n"
        "        except BaseException:\n"
        "            pass\n"
        "lview.retries = 5\n"
        "ar = lview.map_async(stubborn, range(2), chunksize=1)\n"
        "import time\n"
        "while open(mark.__defaults__[0]).read().count('\\n') < 2:\n    time.sleep(0.01)\n"
        "ar.cancel()"
    )
    kept.kill_clients()
    kept.kill()
    kept.kill_engines(pids)
    kept.start()
    with kept.connect() as rc:
        values = rc.get_result(ids).get(PATIENCE, return_exceptions=True)
        assert rc.load_balanced_view().apply_sync(abs, -1) == 1
    assert [type(value) for value in values] == [error.TaskCancelled] * 2
    assert set(marks.counts().values()) == {1}


def test_what_the_controller_was_waited_for_to_have_survives_it_however_large(kept):
    kept.start()
    _, ids = kept.submit_elsewhere(
        "ar = lview.map_async(len, [bytes(3_000_000)] * 20, chunksize=1)"
    )
    kept.kill_clients()
    kept.kill()
    kept.start()
    with kept.connect() as rc:
        assert rc.get_result(ids).get(PATIENCE) == [3_000_000] * 20
