"""Engines that are replaced, fall silent and come back, or are ended by id."""

import os
import signal
import time

import pytest

import oarlock

DEADLINE = 20


def pid():
    import os

    return os.getpid()


def until(condition, what):
    """Wait for `condition`; the test fails when it does not come true."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.005)


# --- replaced


def test_an_engine_that_was_killed_is_replaced_by_a_new_one_with_a_new_id(new_client):
    rc = new_client(2, restart=True)
    before = set(rc.cluster.engine_set.pids)
    killed = rc[0].apply_sync(pid)
    os.kill(killed, signal.SIGKILL)
    until(lambda: rc.ids == [1, 2], "another engine")
    assert rc[2].apply_sync(pid) not in before
    assert set(rc.cluster.engine_set.pids) == set(rc[:].apply_sync(pid))
    assert rc.cluster.engine_set.ids() == [1, 2]


def test_an_engine_that_ends_again_and_again_is_replaced_each_time(new_client):
    rc = new_client(1, restart=True)
    view = rc.load_balanced_view()
    for _ in range(4):
        assert isinstance(view.apply_async(os._exit, 3).exception(DEADLINE), oarlock.EngineLost)
    assert view.apply_async(abs, -1).get(DEADLINE) == 1
    assert rc.ids == [4]


def test_without_the_policy_nobody_replaces_an_engine(new_client):
    rc = new_client(2)
    assert isinstance(rc[0].apply_async(os._exit, 3).exception(DEADLINE), oarlock.EngineLost)
    until(lambda: rc.ids == [1], "one engine")
    assert len(rc.cluster.engine_set.pids) == 1


def test_an_engine_that_was_given_up_for_its_task_is_replaced_whatever_the_policy(new_client, gate):
    hold = gate.hold

    def stubborn():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        hold()

    rc = new_client(1)
    result = rc.load_balanced_view().apply_async(stubborn)
    gate.wait_begun()
    result.cancel(force=0.05)
    with pytest.raises(oarlock.TaskCancelled, match="its engine was ended"):
        result.get(DEADLINE)
    assert rc.load_balanced_view().apply_async(abs, -1).get(DEADLINE) == 1
    assert rc.ids == [1]


def test_engines_that_are_asked_to_end_are_not_replaced(new_client, wait_exit):
    rc = new_client(2, restart=True)
    asked = rc.engine_status(0)["pid"]
    rc.shutdown(0, block=True)
    assert wait_exit(asked, 5)
    rc.cluster.stop_engines_sync()
    assert rc.ids == []
    # The next engine has the next number: there was none between.
    rc.cluster.start_engines_sync(1)
    rc.wait_for_engines(1, timeout=DEADLINE)
    assert rc.ids == [2]


def test_starts_that_come_to_nothing_are_given_up_and_the_reason_is_told(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("raise SystemExit('this engine feels sick')\n")
    cluster = oarlock.Cluster(n=1, restart=True, env={"PYTHONPATH": str(tmp_path)})
    with pytest.raises(oarlock.EngineError, match="after 5 starts in a row") as caught:
        cluster.start_and_connect_sync()
    assert "this engine feels sick" in str(caught.value)


# --- ended by id


def test_one_engine_is_stopped_by_its_id(new_client):
    rc = new_client(2, restart=True)
    rc.cluster.stop_engine_sync(0)
    assert rc.ids == [1]
    assert rc[:].apply_sync(abs, -1) == [1]
    with pytest.raises(oarlock.EngineGone, match="no engine 0"):
        rc.cluster.stop_engine_sync(0)


def test_one_engine_is_restarted_by_its_id_though_it_is_busy(new_client, gate):
    rc = new_client(2)
    old = rc[0].apply_sync(pid)
    busy = rc[0].apply_async(gate.hold)
    gate.wait_begun()
    new = rc.cluster.restart_engine_sync(0)
    assert (new, rc.ids) == (2, [1, 2])
    assert rc[new].apply_sync(pid) != old
    assert isinstance(busy.exception(DEADLINE), oarlock.EngineError)


def test_a_set_of_engines_is_restarted_and_keeps_its_id(new_client):
    rc = new_client(2)
    names = list(rc.cluster.engines)
    before = set(rc[:].apply_sync(pid))
    rc.cluster.restart_engines_sync()
    assert rc.ids == [2, 3]
    assert before.isdisjoint(rc[:].apply_sync(pid))
    assert list(rc.cluster.engines) == names


def test_one_engine_is_signalled_by_its_id(new_client):
    rc = new_client(2)
    rc.cluster.signal_engine_sync(signal.SIGKILL, 1)
    until(lambda: rc.ids == [0], "one engine")


def test_a_client_restarts_engines(new_client):
    rc = new_client(2)
    rc.shutdown(1, restart=True, block=True)
    until(lambda: rc.ids == [0, 2], "another engine")
    assert rc[2].apply_sync(abs, -1) == 1


# --- memory


def test_what_an_engine_has_in_memory_is_told_and_grows_with_what_it_keeps(new_client):
    rc = new_client(2)
    before = rc.engine_status()
    kept = 64 << 20
    rc[0].execute(f"kept = b'x' * {kept}", block=True)
    after = rc.engine_status()
    grown = [after[engine]["memory"] - before[engine]["memory"] for engine in (0, 1)]
    assert kept <= grown[0] < 2 * kept
    assert grown[1] < kept // 4
    for how in after.values():
        assert how["memory"] < how["memory_limit"]


# --- silent


def test_a_stopped_engine_is_suspect_then_lost_and_comes_back_as_a_new_one(new_client, gate):
    rc = new_client(2, suspect_after=0.3, lost_after=1.0)
    pids = dict(zip(rc.ids, rc[:].apply_sync(pid), strict=True))
    held = rc[0].apply_async(gate.hold, "late")
    gate.wait_begun()
    waiting = [rc.load_balanced_view().apply_async(gate.hold, number) for number in range(3)]
    gate.wait_begun()
    status = rc.engine_status()
    assert {one["state"] for one in status.values()} == {"alive"}
    assert all(one["busy"] > 0 for one in status.values())
    os.kill(pids[0], signal.SIGSTOP)
    try:
        until(lambda: rc.engine_status().get(0, {}).get("state") != "alive", "it is suspect")
        lost = held.exception(DEADLINE)
        assert isinstance(lost, oarlock.EngineLost)
        assert "no sign of life for 1 s" in lost.cause
        assert rc.ids == [1]
    finally:
        os.kill(pids[0], signal.SIGCONT)
    until(lambda: rc.ids == [1, 2], "it comes back")
    gate.release(10)
    assert [one.get(DEADLINE) for one in waiting] == [0, 1, 2]
    assert rc[2].apply_async(pid).get(DEADLINE) == pids[0]
    assert isinstance(held.exception(), oarlock.EngineLost)


def test_what_a_stopped_engine_had_begun_is_run_again_if_retries_allow_it(new_client, gate):
    rc = new_client(2, suspect_after=0.3, lost_after=0.5)
    result = rc.load_balanced_view(retries=1).apply_async(gate.hold, "once")
    gate.wait_begun()
    engine = next(one for one, how in rc.engine_status().items() if how["busy"] is not None)
    stopped = rc.engine_status(engine)["pid"]
    os.kill(stopped, signal.SIGSTOP)
    try:
        gate.wait_begun()
    finally:
        os.kill(stopped, signal.SIGCONT)
    gate.release(2)
    assert result.get(DEADLINE) == "once"
    assert result.engine_id != engine
    until(lambda: 2 in rc.ids, "it comes back")


def test_a_stopped_engine_is_replaced_by_the_policy(new_client, wait_exit):
    rc = new_client(1, restart=True, suspect_after=0.3, lost_after=0.5)
    stopped = rc[0].apply_sync(pid)
    os.kill(stopped, signal.SIGSTOP)
    until(lambda: rc.ids == [1], "another engine")
    assert wait_exit(stopped, 5)
    assert rc[1].apply_sync(pid) != stopped


def test_a_stopped_engine_that_is_lost_ends_with_its_set(new_client, wait_exit):
    rc = new_client(1, suspect_after=0.3, lost_after=0.5)
    stopped = rc[0].apply_sync(pid)
    os.kill(stopped, signal.SIGSTOP)
    until(lambda: rc.ids == [], "it is lost")
    rc.cluster.stop_engines_sync()
    assert wait_exit(stopped, 5)


def test_an_engine_whose_task_holds_the_interpreter_is_busy_and_not_lost(new_client):
    def hold_the_interpreter(seconds):
        import ctypes

        return ctypes.PyDLL(None).usleep(int(seconds * 1e6))

    rc = new_client(1, suspect_after=0.4, lost_after=0.5)
    result = rc[0].apply_async(hold_the_interpreter, 2.0)
    seen = []
    while not result.wait(0.05):
        seen.append(rc.engine_status(0))
    assert result.get() == 0
    assert rc.ids == [0]
    assert {one["state"] for one in seen} == {"alive"}
    assert max(one["busy"] or 0 for one in seen) > 0


@pytest.mark.parametrize("times", [(0, 1), (2, 1), (-1, 5), (1, float("inf"))])
def test_times_that_make_no_sense_are_refused_at_once(times):
    with pytest.raises(ValueError, match="suspect_after"):
        oarlock.Cluster(n=1, suspect_after=times[0], lost_after=times[1])
