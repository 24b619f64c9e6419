"""A controller that is killed, and what becomes of everything while it is gone and when it is
started again. Real processes; the rules in bulk are tried by `src/sim`."""

import os
import signal
import threading
import time

import pytest

import oarlock
from oarlock import error
from oarlock.cluster import registry

from . import standalone
from .marking import marking
from .standalone import kill
from .waiting import wait_until

NAME = "again"
PATIENCE = 30


def start(*options):
    return standalone.start(NAME, "-n", "2", *options)


@pytest.fixture
def record(leaks):
    """A standalone cluster with two engines."""
    yield start()
    standalone.stop_all()
    leaks.check()


@pytest.fixture
def rc(record):
    with oarlock.Client(cluster_id=NAME) as client:
        yield client


def test_a_map_goes_on_where_it_was_and_each_item_is_run_once(record, rc, tmp_path, wait_exit):
    mark, executions = marking(tmp_path)
    engines = rc[:].apply_sync(os.getpid)
    ar = rc.load_balanced_view().map_async(mark, range(20_000), chunksize=1)
    wait_until(lambda: ar.progress >= 4_000, "the map does not get on")
    kill(record, wait_exit)
    again = start()
    assert again.pid != record.pid
    assert again.directory == record.directory
    assert ar.get(PATIENCE) == [-item for item in range(20_000)]
    assert set(executions().values()) == {1}
    assert rc.ids == [0, 1]
    assert rc[:].apply_sync(os.getpid) == engines, "the same processes under the same ids"
    assert rc._core.controller_pid == again.pid


def test_a_chunked_map_of_100_000_items_goes_on_too(record, rc, wait_exit):
    ar = rc.load_balanced_view().map_async(abs, range(100_000), chunksize=50)
    wait_until(lambda: ar.progress >= 100, "the map does not get on")
    kill(record, wait_exit)
    start()
    assert ar.get(PATIENCE) == list(range(100_000))


def test_a_task_that_runs_while_nobody_controls_is_not_run_again(record, rc, gate, wait_exit):
    held = rc[1].apply_async(gate.hold, "value")
    balanced = rc.load_balanced_view(targets=[0]).apply_async(gate.hold, "other")
    gate.wait_begun(2)
    kill(record, wait_exit)
    start()
    rc.wait_for_engines(2, timeout=PATIENCE)
    wait_until(lambda: rc.queue_status()[1]["queue"] == 1, "its engine holds it as before")
    assert not gate.begun(), "neither was begun again"
    gate.release(2)
    assert (held.get(PATIENCE), balanced.get(PATIENCE)) == ("value", "other")
    assert (held.engine_id, balanced.engine_id) == (1, 0)
    assert not gate.begun()


def test_what_ends_while_nobody_controls_is_told_to_the_next(record, rc, tmp_path, gate, wait_exit):
    mark, executions = marking(tmp_path)

    def work(item, hold=gate.hold):
        hold()
        return mark(item)

    ars = [rc[engine].apply_async(work, engine) for engine in (0, 1)]
    queued = [rc[engine].apply_async(mark, 10 + engine) for engine in (0, 1)]
    gate.wait_begun(2)
    kill(record, wait_exit)
    wait_until(lambda: rc.away, "the client notices")
    gate.release(2)
    # An engine that has not noticed yet may go on with what it holds.
    wait_until(lambda: executions().keys() >= {0, 1}, "they end")
    start()
    assert [ar.get(PATIENCE) for ar in ars + queued] == [0, -1, -10, -11]
    assert executions() == {0: 1, 1: 1, 10: 1, 11: 1}


def test_what_is_submitted_and_cancelled_and_asked_meanwhile_is_seen_to(
    record, rc, gate, wait_exit
):
    lview = rc.load_balanced_view()
    held = lview.map_async(gate.hold, range(2), chunksize=1)
    gate.wait_begun(2)
    waiting = lview.map_async(gate.hold, range(10, 14), chunksize=1)
    kill(record, wait_exit)
    wait_until(lambda: rc.away, "the client notices")
    new = lview.map_async(lambda item: item + 1, range(100), chunksize=1)
    direct = rc[:].apply_async(os.getpid)
    waiting.cancel()
    answers = []
    asking = threading.Thread(target=lambda: answers.append(rc.queue_status()))
    asking.start()
    start()
    asking.join(PATIENCE)
    assert set(answers[0]) == {"unassigned", 0, 1}
    gate.release(2)
    assert held.get(PATIENCE) == [0, 1]
    assert new.get(PATIENCE) == list(range(1, 101))
    assert len(direct.get(PATIENCE)) == 2
    with pytest.raises(error.TaskCancelled):
        waiting.get(PATIENCE)
    assert not gate.begun(), "what was cancelled never began"


def test_of_an_engine_that_dies_meanwhile_nobody_knows_what_it_had_begun(
    record, rc, gate, wait_exit
):
    pids = rc[:].apply_sync(os.getpid)
    begun = rc.load_balanced_view(targets=[0]).apply_async(gate.hold)
    lview = rc.load_balanced_view(targets=[0, 1], retries=1)
    gate.wait_begun()
    again = [lview.apply_async(gate.hold, number) for number in range(2)]
    gate.wait_begun()
    kill(record, wait_exit)
    os.kill(pids[0], signal.SIGKILL)
    assert wait_exit(pids[0], PATIENCE)
    start()
    with pytest.raises(error.EngineLost, match="while there was no controller") as caught:
        begun.get(PATIENCE)
    assert "engine 0" in str(caught.value)
    gate.release(1)
    gate.wait_begun()
    gate.release(2)
    assert [result.get(PATIENCE) for result in again] == [0, 1]
    rc.wait_for_engines(2, timeout=PATIENCE)
    assert 0 not in rc.ids, "another took its place, under a number of its own"


def test_if_none_comes_every_wait_ends_and_the_engines_end(record, leaks, gate, wait_exit):
    registry.list_clusters()
    with oarlock.Client(cluster_id=NAME, reconnect=0.5) as rc:
        pids = rc[:].apply_sync(os.getpid)
        ar = rc.load_balanced_view().map_async(gate.hold, range(4), chunksize=1)
        gate.wait_begun(2)
        kill(record, wait_exit)
        with pytest.raises(error.ControllerLost, match=r"no other came within 0\.5 s"):
            ar.get(PATIENCE)
        with pytest.raises(error.ControllerLost):
            rc.load_balanced_view().apply_async(abs, 1)
    (headless,) = registry.list_headless()
    assert headless == record
    registry.remove_headless(record)
    assert all(wait_exit(pid, PATIENCE) for pid in pids)


def test_engines_end_after_their_lease(leaks, wait_exit):
    record = start("--lease", "0.3")
    with oarlock.Client(cluster_id=NAME) as rc:
        pids = rc[:].apply_sync(os.getpid)
        kill(record, wait_exit)
        assert all(wait_exit(pid, PATIENCE) for pid in pids)
        with pytest.raises(error.ControllerLost):
            rc[:].apply_sync(os.getpid)
    assert registry.list_headless() == []
    leaks.check()


def test_who_waits_is_told_that_the_controller_is_gone_and_that_another_came(
    record, rc, gate, wait_exit, caplog, capsys
):
    ar = rc.load_balanced_view().apply_async(gate.hold, 1)
    gate.wait_begun()
    kill(record, wait_exit)
    wait_until(lambda: rc.away, "the client notices")
    assert not ar.wait(0.2)
    ar.wait_interactive(timeout=0.2)
    assert not ar.wait(0.2)
    start()
    gate.release()
    assert ar.get(PATIENCE) == 1
    ar = rc.load_balanced_view().apply_async(gate.hold, 1)
    assert not ar.wait(0.2)
    gate.release()
    gone, back = [entry.getMessage() for entry in caplog.records]
    assert "the controller was killed" in gone
    assert "oarlock start" in gone
    assert "is there again" in back
    assert "the controller was killed" not in capsys.readouterr().out, "once is enough"


def test_a_client_can_be_closed_while_nobody_controls(record, wait_exit):
    rc = oarlock.Client(cluster_id=NAME)
    ar = rc.load_balanced_view().map_async(abs, range(10))
    kill(record, wait_exit)
    wait_until(lambda: rc.away, "the client notices")
    rc.close()
    assert ar.ready()
    start()


def test_a_task_that_writes_all_the_time_goes_on_through_it(record, rc, tmp_path, wait_exit):
    enough = str(tmp_path / "enough")

    def write(engine):
        import os

        while not os.path.exists(enough):
            print("x" * 100_000)
        return engine

    ars = [rc[engine].apply_async(write, engine) for engine in (0, 1)]
    for _ in range(3):
        wait_until(lambda: all(ar.metadata.started is not None for ar in ars), "they begin")
        kill(record, wait_exit)
        record = start()
        wait_until(lambda: not rc.away, "the client comes back")
        assert set(rc.queue_status()) == {"unassigned", 0, 1}
    (tmp_path / "enough").touch()
    assert [ar.get(PATIENCE) for ar in ars] == [0, 1]


def test_it_may_be_killed_again_and_again(record, rc, tmp_path, wait_exit):
    mark, executions = marking(tmp_path)
    ar = rc.load_balanced_view().map_async(mark, range(6_000), chunksize=1)
    for round_ in range(1, 4):
        wait_until(lambda done=round_: ar.progress >= done * 1_000, "the map does not get on")
        kill(record, wait_exit)
        record = start()
    assert ar.get(PATIENCE) == [-item for item in range(6_000)]
    assert set(executions().values()) == {1}


def test_large_arguments_and_results_survive_it(record, rc, gate, wait_exit):
    hold = gate.hold

    def work(data):
        hold()
        return data[::-1]

    data = [bytes([number]) * 3_000_000 + b"end" for number in range(4)]
    ar = rc.load_balanced_view().map_async(work, data, chunksize=1)
    gate.wait_begun(2)
    kill(record, wait_exit)
    wait_until(lambda: rc.away, "the client notices")
    gate.release(4)
    start()
    assert ar.get(PATIENCE) == [item[::-1] for item in data]


def test_two_clients_come_back_each_to_its_own(record, rc, wait_exit):
    with oarlock.Client(cluster_id=NAME) as other:
        sleep = 0.02
        mine = rc.load_balanced_view().map_async(
            lambda item: (time.sleep(sleep), item)[1], range(40), chunksize=1
        )
        theirs = other.load_balanced_view().map_async(
            lambda item: (time.sleep(sleep), -item)[1], range(40), chunksize=1
        )
        wait_until(lambda: mine.progress >= 4 and theirs.progress >= 1, "they do not get on")
        kill(record, wait_exit)
        start()
        assert mine.get(PATIENCE) == list(range(40))
        assert theirs.get(PATIENCE) == [-item for item in range(40)]


def test_the_next_controller_knows_how_long_a_client_lets_its_tasks_wait(record, rc, wait_exit):
    pids = rc[:].apply_sync(os.getpid)
    rc.engines_timeout = 0.2
    kill(record, wait_exit)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        assert wait_exit(pid, PATIENCE)
    waiting = rc.load_balanced_view().apply_async(abs, -1)
    record = start()
    assert waiting.get(PATIENCE) == 1, "it has started engines of its own"
    rc.shutdown(block=True)
    late = rc.load_balanced_view().apply_async(abs, -1)
    assert isinstance(late.exception(PATIENCE), error.NoEnginesRegistered)
