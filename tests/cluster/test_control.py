"""What a client asks of the controller, and does to tasks and engines."""

import signal

import pytest

import oarlock

UNKNOWN = f"{'0' * 32}_5"


# --- queue_status


def test_queue_status_counts_what_waits_where(rc, lview, gate):
    before = rc.queue_status()
    held = rc[0].apply_async(gate.hold)
    gate.wait_begun()
    waiting = [rc[0].apply_async(abs, -1) for _ in range(3)]
    balanced = rc.load_balanced_view(1).apply_async(gate.hold)
    gate.wait_begun()
    status = rc.queue_status()
    assert set(status) == {"unassigned", 0, 1}
    assert (status[0]["queue"], status[0]["tasks"]) == (4, 0)
    assert (status[1]["queue"], status[1]["tasks"]) == (0, 1)
    assert rc.queue_status(0) == status[0]
    assert set(rc.queue_status([1])) == {"unassigned", 1}
    assert rc[0].queue_status() == status[0]
    gate.release(2)
    assert rc.wait([held, *waiting, balanced], timeout=20)
    after = rc.queue_status()
    assert [after[0]["queue"], after[1]["tasks"]] == [0, 0]
    assert after[0]["completed"] == before[0]["completed"] + 4
    assert after[1]["completed"] == before[1]["completed"] + 1


def test_queue_status_refuses_what_it_cannot_tell(rc):
    with pytest.raises(NotImplementedError, match="outstanding"):
        rc.queue_status(verbose=True)
    with pytest.raises(oarlock.EngineGone):
        rc.queue_status(99)


# --- purge


def test_a_purged_task_is_known_to_nobody(rc, lview):
    one, two = (lview.apply_async(abs, -i) for i in (1, 2))
    rc.wait(timeout=20)
    rc.purge_results(one)
    with pytest.raises(oarlock.UnknownTask):
        rc.get_result(one.msg_ids[0]).get(20)
    assert rc.get_result(two.msg_ids[0]).get(20) == 2
    assert one.msg_ids[0] not in rc.hub_history()
    assert one.msg_ids[0] not in rc.metadata


def test_local_and_remote_books_are_purged_apart(rc, lview):
    here, there = (lview.apply_async(abs, -i) for i in (1, 2))
    rc.wait(timeout=20)
    rc.purge_local_results(here)
    assert here.msg_ids[0] not in rc.metadata
    assert rc.get_result(here.msg_ids[0]).get(20) == 1, "the controller still has it"
    rc.purge_hub_results(there)
    assert there.msg_ids[0] not in rc.hub_history()
    assert rc.get_result(there.msg_ids[0]).get(20) == 2, "the client still has it"


def test_purging_by_engine_takes_what_ran_there(rc):
    results = [rc[engine].apply_async(abs, -1) for engine in (0, 1)]
    rc.wait(timeout=20)
    rc.purge_results(targets=0)
    ids = [result.msg_ids[0] for result in results]
    assert [msg_id in rc.metadata for msg_id in ids] == [False, True]
    assert [msg_id in rc.hub_history() for msg_id in ids] == [False, True]


def test_purging_everything_begins_a_new_history(new_client):
    rc = new_client(1)
    kept = rc[0].apply_async(abs, -1)
    kept.wait(20)
    rc.purge_everything()
    assert (list(rc.history), len(rc.metadata), rc.hub_history()) == ([], 0, [])
    result = rc[0].apply_async(abs, -2)
    assert rc.history == result.msg_ids
    assert rc.get_result(0).get(20) == 2


def test_what_has_not_finished_cannot_be_purged(rc, lview, gate):
    held = lview.apply_async(gate.hold)
    for purge in (rc.purge_results, rc.purge_local_results, rc.purge_hub_results):
        for jobs in (held, held.msg_ids, "all"):
            with pytest.raises(RuntimeError, match="not finished"):
                purge(jobs)
        with pytest.raises(ValueError, match="what to purge"):
            purge()
    with pytest.raises(RuntimeError, match="not finished"):
        rc.purge_everything()
    gate.release()
    assert held.get(20) is None
    rc.purge_results(UNKNOWN)


# --- abort


def test_aborted_tasks_never_start(rc, gate):
    view = rc[0]
    held = view.apply_async(gate.hold)
    gate.wait_begun()
    view.push({"ran": True})
    push = rc.get_result(-1)
    assert rc.abort(push).result(20) is None
    assert push.wait(20)
    gate.release()
    held.get(20)
    with pytest.raises(oarlock.TaskCancelled, match="before it was started"):
        push.get()
    with pytest.raises(NameError):
        view["ran"]


def test_an_aborted_task_that_runs_is_interrupted(rc, gate):
    held = rc[0].apply_async(gate.hold)
    gate.wait_begun()
    assert rc.abort(held.msg_ids, block=True) is None
    with pytest.raises(oarlock.TaskCancelled, match="while it ran on engine 0"):
        held.get(20)
    assert rc[0].apply_sync(abs, -1) == 1


def test_abort_without_jobs_stops_all_of_this_client_or_of_some_engines(rc, gate):
    held = [rc[engine].apply_async(gate.hold, engine) for engine in (0, 1)]
    gate.wait_begun(2)
    rc.abort(targets=0, block=True)
    with pytest.raises(oarlock.TaskCancelled):
        held[0].get(20)
    assert not held[1].wait(0.05)
    rc.abort(block=True)
    with pytest.raises(oarlock.TaskCancelled):
        held[1].get(20)
    assert rc.wait(timeout=20)


def test_aborting_what_is_finished_or_unknown_does_nothing(rc, lview):
    done = lview.apply_async(abs, -1)
    done.wait(20)
    assert rc.abort([done, UNKNOWN], block=True) is None
    assert done.get() == 1
    for jobs in (1.5, {"a": 1}):
        with pytest.raises(TypeError):
            rc.abort(jobs)


# --- engines


def test_clear_empties_namespaces_of_some_or_all_engines(rc):
    rc[:].push({"a": 1}, block=True)
    assert rc.clear(targets=[0], block=True) is None
    assert rc[1]["a"] == 1
    with pytest.raises(NameError):
        rc[0]["a"]
    rc.clear().get(20)
    with pytest.raises(NameError):
        rc[1]["a"]


@pytest.mark.parametrize("sig", [signal.SIGINT, "SIGINT"])
def test_an_interrupt_fails_the_running_task_and_spares_the_engine(rc, gate, sig):
    held = rc[0].apply_async(gate.hold)
    gate.wait_begun()
    assert rc.send_signal(sig, targets=0, block=True) is None
    with pytest.raises(oarlock.RemoteError) as caught:
        held.get(20)
    assert caught.value.ename == "KeyboardInterrupt"
    assert rc.send_signal(sig, targets=[0, 1]).result(20) is None
    assert rc[:].apply_sync(abs, -1) == [1, 1], "an idle engine is not impressed"


def test_a_signal_reaches_the_engine_itself(rc):
    source = "import signal\ngot = []\nsignal.signal(signal.SIGUSR1, lambda *a: got.append(a[0]))"
    rc[1].execute(source, block=True)
    rc.send_signal("SIGUSR1", targets=1, block=True)
    rc[1].execute(
        "import time\nend = time.monotonic() + 20\nwhile not got: assert time.monotonic() < end"
    )
    assert rc[1]["[int(number) for number in got]"] == [int(signal.SIGUSR1)]
    rc[1].execute("signal.signal(signal.SIGUSR1, signal.SIG_DFL)", block=True)


def test_signals_that_do_not_exist_and_engines_that_are_not_there_are_refused(rc):
    with pytest.raises(AttributeError, match="SIGNOTHING"):
        rc.send_signal("SIGNOTHING", block=True)
    with pytest.raises(oarlock.EngineGone):
        rc.send_signal("SIGINT", targets=99, block=True)


def test_one_engine_can_be_shut_down_and_the_others_go_on(new_client, wait_exit):
    rc = new_client(2)
    everyone, gone = rc.direct_view(), rc[0]
    pid = gone.apply_sync(__import__("os").getpid)
    assert rc.shutdown(targets=0, block=True) is None
    assert rc.ids == [1]
    assert wait_exit(pid, 20)
    assert everyone.apply_sync(abs, -1) == [1]
    with pytest.raises(oarlock.EngineGone, match="engine 0"):
        gone.apply_async(abs, 1)
    with pytest.raises(IndexError):
        rc[0]
    assert rc.load_balanced_view().map_sync(abs, [-1, -2]) == [1, 2]
    rc.cluster.start_engines_sync(1)
    rc.wait_for_engines(2, timeout=30)
    assert rc.ids == [1, 2], "ids are never used again"


def test_an_engine_that_is_shut_down_finishes_its_task_first(new_client, gate):
    rc = new_client(1)
    held = rc[0].apply_async(gate.hold, "value")
    gate.wait_begun()
    rc.shutdown(block=False).result(20)
    gate.release()
    assert held.get(20) == "value"


def test_shutdown_of_the_hub_ends_everything(new_client, leaks):
    rc = new_client(1)
    assert rc.shutdown(hub=True) is None
    with pytest.raises(oarlock.ClosedClient):
        rc[:]
    leaks.check()


def test_an_engine_that_is_shut_down_has_the_time_its_task_takes(new_client):
    rc = new_client(2)
    busy = rc[0].apply_async(_nap, 1.0)
    while busy.started is None:
        assert not busy.wait(0.005), busy
    rc.shutdown(0, block=True)
    assert busy.get(20) == "finished"
    assert rc.ids == [1]
    assert rc[1].apply_sync(abs, -1) == 1


def _nap(seconds):
    import time

    time.sleep(seconds)
    return "finished"
