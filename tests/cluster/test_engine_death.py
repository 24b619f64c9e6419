"""An engine that dies takes exactly the tasks it held with it, and says how it died."""

import os
import select
import signal
import time

import pytest

import oarlock
from oarlock import error

DEADLINE = 20


def pid():
    import os

    return os.getpid()


def wait_for(path, report=None):
    """Run until the test makes the file `path`; tell by another file that it runs."""
    import os
    import time

    if report:
        # Moved into place whole: who sees the file can read it.
        with open(report + ".new", "w") as file:
            file.write(str(os.getpid()))
        os.rename(report + ".new", report)
    while not os.path.exists(path):
        time.sleep(0.01)
    return "waited"


def crash():
    import ctypes

    ctypes.string_at(0)


def leave(code):
    import os

    os._exit(code)


def killed_by(name):
    import os
    import signal

    os.kill(os.getpid(), getattr(signal, name))


@pytest.fixture
def rc(new_client):
    """A cluster of two engines that the test may harm."""
    return new_client(2)


@pytest.fixture
def gate(tmp_path):
    """A file that tasks wait for, and that exists after the test in any case."""
    path = tmp_path / "gate"
    yield path
    path.touch()


def until(condition, what):
    """Wait for `condition`; the test fails when it does not come true."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.005)


def until_alone(rc, engine):
    until(lambda: rc.ids == [engine], f"engine {engine} is the only one")


WAYS = [
    (killed_by, ("SIGKILL",), "killed by SIGKILL"),
    (killed_by, ("SIGTERM",), "killed by SIGTERM"),
    (crash, (), "killed by SIGSEGV"),
    (leave, (3,), "exit code 3"),
    (leave, (0,), "exit code 0"),
]


@pytest.mark.parametrize(("function", "args", "cause"), WAYS, ids=[way[2] for way in WAYS])
def test_a_task_that_ends_its_engine_fails_with_engine_pid_and_cause(rc, function, args, cause):
    doomed = rc[0].apply_sync(pid)
    result = rc[0].apply_async(function, *args)
    with pytest.raises(oarlock.EngineLost) as caught:
        result.get(DEADLINE)
    lost = caught.value
    assert (lost.engine, lost.pid, lost.started) == (0, doomed, True)
    # Where the system keeps core dumps, the cause says so.
    assert lost.cause.removesuffix(" (core dumped)") == cause
    assert lost.task == result.msg_ids[0]
    text = str(lost)
    assert f"engine 0 (pid {doomed}" in text
    assert cause in text
    assert "hint:" in text
    assert isinstance(lost, error.EngineError)
    assert isinstance(lost, oarlock.RemoteError)
    until_alone(rc, 1)
    assert rc[1].apply_sync(abs, -1) == 1


def test_a_killed_engine_fails_its_task_at_once(rc, tmp_path, gate):
    report = tmp_path / "report"
    result = rc[0].apply_async(wait_for, str(gate), str(report))
    until(report.exists, "the task started")
    os.kill(int(report.read_text()), signal.SIGKILL)
    begin = time.monotonic()
    assert isinstance(result.exception(DEADLINE), oarlock.EngineLost)
    assert time.monotonic() - begin < 1  # 0.1 s is promised


def test_an_engine_whose_forked_child_lives_on_fails_its_task(rc, gate):
    def fork_and_die(gate):
        import os
        import signal

        if os.fork() == 0:
            # It holds the engine's sockets open.
            wait_for(gate)
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)

    failure = rc[0].apply_async(fork_and_die, str(gate)).exception(DEADLINE)
    assert isinstance(failure, oarlock.EngineLost)
    # Without evidence nobody says that memory ran out.
    assert failure.cause == "killed by SIGKILL"
    until_alone(rc, 1)
    assert rc[1].apply_sync(abs, -1) == 1


def test_a_segfault_is_told_with_the_python_stack(rc):
    with pytest.raises(oarlock.EngineLost) as caught:
        rc[0].apply_async(crash).get(DEADLINE)
    assert "Segmentation fault" in caught.value.output
    assert "in crash" in caught.value.output
    assert "in crash" in str(caught.value)


def test_the_last_words_of_the_engine_are_told(rc):
    def say_and_go():
        import os

        os.write(2, b"I cannot go on\n")
        os._exit(7)

    with pytest.raises(oarlock.EngineLost, match="I cannot go on"):
        rc[0].apply_async(say_and_go).get(DEADLINE)


def test_output_of_the_task_that_died_is_not_lost(rc, tmp_path, gate):
    def say_and_wait(gate, report):
        print("before the end")
        wait_for(gate, report)

    report = tmp_path / "report"
    result = rc[0].apply_async(say_and_wait, str(gate), str(report))
    until(lambda: result.stdout and report.exists(), "the task wrote")
    os.kill(int(report.read_text()), signal.SIGKILL)
    assert isinstance(result.exception(DEADLINE), oarlock.EngineLost)
    assert result.stdout == "before the end\n"


def test_exactly_the_tasks_of_the_dead_engine_fail(rc, tmp_path, gate):
    before = [rc[0].apply_async(abs, -number) for number in range(3)]
    assert before[-1].wait(DEADLINE)
    report = tmp_path / "report"
    running = rc[0].apply_async(wait_for, str(gate), str(report))
    queued = [rc[0].apply_async(abs, -1) for _ in range(3)]
    other = rc[1].apply_async(wait_for, str(gate))
    until(report.exists, "the task started")
    os.kill(int(report.read_text()), signal.SIGKILL)
    for result in [running, *queued]:
        assert isinstance(result.exception(DEADLINE), oarlock.EngineLost)
    assert running.exception().started
    assert [one.exception().started for one in queued] == [False] * 3
    assert "as far as the engine told, it had not been started" in str(queued[0].exception())
    # What an engine did last it cannot tell.
    assert "as far as the engine told, it had been running for" in str(running.exception())
    assert "it may have finished" in str(running.exception())
    assert [result.get() for result in before] == [0, 1, 2]
    assert not other.ready()
    gate.touch()
    assert other.get(DEADLINE) == "waited"


def die_at(x, fatal, seconds):
    import os
    import time

    time.sleep(seconds)
    if x == fatal:
        os._exit(6)
    return x


def test_a_map_loses_the_item_that_was_running_and_goes_on(rc):
    result = rc.load_balanced_view().map_async(die_at, range(60), [30] * 60, [0.01] * 60)
    values = result.get(DEADLINE, return_exceptions=True)
    lost = values.pop(30)
    assert isinstance(lost, oarlock.EngineLost)
    assert lost.started
    assert lost.ran_for < 5
    assert values == [*range(30), *range(31, 60)]
    items = iter(result)
    assert [next(items) for _ in range(30)] == list(range(30))
    with pytest.raises(oarlock.EngineLost):
        next(items)


def test_a_map_of_fine_tasks_loses_what_that_engine_held_and_no_more(rc):
    """Fine tasks are given ahead; what the dead engine did with them nobody can tell."""
    pids = rc[:].apply_sync(pid)
    result = rc.load_balanced_view().map_async(die_at, range(2000), [500] * 2000, [0] * 2000)
    values = result.get(DEADLINE, return_exceptions=True)
    lost = {at: value for at, value in enumerate(values) if not isinstance(value, int)}
    assert 500 in lost
    assert len(lost) < 1500
    assert all(values[at] == at for at in range(2000) if at not in lost)
    assert {type(value) for value in lost.values()} == {oarlock.EngineLost}
    assert len({value.pid for value in lost.values()} & set(pids)) == 1
    assert len({value.pid for value in lost.values()}) == 1
    (survivor,) = rc.ids
    assert result.engine_id[-1] == survivor


def test_results_that_arrived_before_stay(rc):
    lview = rc.load_balanced_view()
    done = lview.map_async(abs, range(-50, 0))
    assert done.wait(DEADLINE)
    for engine in rc.ids:
        assert isinstance(rc[engine].apply_async(leave, 1).exception(DEADLINE), oarlock.EngineLost)
    until(lambda: rc.ids == [], "no engine is left")
    assert done.get() == list(range(50, 0, -1))


def test_a_direct_map_loses_the_part_of_the_dead_engine(rc):
    def die_at(x):
        import os

        if x == 0:
            os._exit(1)
        return x

    result = rc[:].map_async(die_at, range(10))
    with pytest.raises(oarlock.CompositeError) as caught:
        result.get(DEADLINE)
    assert {type(one) for one in caught.value.exceptions} == {oarlock.EngineLost}
    values = result.get(return_exceptions=True)
    assert len(values) == 10
    assert all(isinstance(value, oarlock.EngineLost) for value in values[:5])
    assert values[5:] == [5, 6, 7, 8, 9]


def test_a_view_of_a_dead_engine_raises_and_names_it(rc):
    both, first = rc[[0, 1]], rc[0]
    assert isinstance(first.apply_async(leave, 1).exception(DEADLINE), oarlock.EngineLost)
    until_alone(rc, 1)
    sent = len(rc.history)
    for view in (both, first):
        with pytest.raises(oarlock.EngineGone, match="engine 0"):
            view.apply_async(abs, -1)
    assert len(rc.history) == sent
    with pytest.raises(IndexError, match=r"no engine 0; there are \[1\]"):
        rc[0]
    assert rc[:].apply_sync(abs, -1) == [1]


def test_an_engine_is_off_the_list_before_its_loss_is_told(new_client):
    rc = new_client(4)
    for engine in range(4):
        assert rc[engine].apply_async(leave, 1).wait(DEADLINE)
        assert engine not in rc.ids


def test_direct_views_without_any_engine_raise(rc):
    everything = rc.direct_view()
    rc[:].apply_async(leave, 1).wait(DEADLINE)
    until(lambda: rc.ids == [], "no engine is left")
    with pytest.raises(oarlock.NoEnginesRegistered):
        rc[:]
    with pytest.raises(oarlock.NoEnginesRegistered):
        everything.apply_async(abs, -1)


def test_load_balanced_tasks_wait_for_an_engine_to_come(rc):
    lview = rc.load_balanced_view()
    rc[:].apply_async(leave, 1).wait(DEADLINE)
    until(lambda: rc.ids == [], "no engine is left")
    result = lview.map_async(abs, [-1, -2, -3])
    assert not result.wait(0.1)
    assert rc.queue_status()["unassigned"] == 3
    rc.cluster.start_engines_sync(1)
    assert result.get(DEADLINE) == [1, 2, 3]
    assert rc.ids == [2]  # no number is used twice


def test_ids_shrink_and_grow(rc):
    version = rc._core.engines_version()
    os.kill(rc[1].apply_sync(pid), signal.SIGKILL)
    assert rc._core.wait_engines_change(version, DEADLINE)
    assert rc.ids == [0]
    assert len(rc) == 1
    rc.cluster.start_engines_sync(1)
    rc.wait_for_engines(2, timeout=DEADLINE)
    assert rc.ids == [0, 2]
    assert rc[2].apply_sync(abs, -1) == 1


def test_what_another_engine_needs_reaches_it_after_a_death(rc):
    """The function had been sent to the engine that died only."""

    def double(x):
        return 2 * x

    assert rc[0].apply_sync(double, 1) == 2
    assert isinstance(rc[0].apply_async(leave, 1).exception(DEADLINE), oarlock.EngineLost)
    assert rc.load_balanced_view().map_sync(double, range(3)) == [0, 2, 4]


@pytest.mark.parametrize("where", ["argument", "result", "exception"])
def test_objects_that_end_the_process_that_handles_them_cost_their_task(rc, where):
    class Deadly(Exception):
        def __reduce__(self):
            import os

            return os._exit, (5,)

    class DeadlyToPickle(Exception):
        def __reduce__(self):
            import os

            os._exit(5)

    def give():
        return DeadlyToPickle()

    def fail():
        raise DeadlyToPickle

    call = {"argument": (id, Deadly()), "result": (give,), "exception": (fail,)}[where]
    with pytest.raises(oarlock.EngineLost, match="exit code 5"):
        rc[0].apply_async(*call).get(DEADLINE)
    until_alone(rc, 1)
    assert rc[1].apply_sync(abs, -1) == 1


def test_a_lost_engine_is_picked_out_by_except_star(rc):
    seen = []
    try:
        rc[:].apply_sync(leave, 4)
    except* oarlock.EngineLost as group:
        seen = [lost.engine for lost in group.exceptions]
    assert seen == [0, 1]


def test_an_engine_asked_to_end_while_busy_is_no_riddle(rc, tmp_path, gate):
    report = tmp_path / "report"
    result = rc[0].apply_async(wait_for, str(gate), str(report))
    until(report.exists, "the task started")
    rc.cluster.stop_engines_sync()
    failure = result.exception(DEADLINE)
    assert isinstance(failure, oarlock.EngineError)
    assert failure.engine == 0
    assert failure.cause
    assert rc.ids == []


def test_processes_that_a_task_left_behind_end_with_its_engine(tmp_path):
    def leave():
        import subprocess

        return subprocess.Popen(["sleep", "1000"]).pid

    with oarlock.Cluster(n=1) as rc:
        child = os.pidfd_open(rc[0].apply_sync(leave))
        try:
            with pytest.raises(oarlock.EngineLost):
                rc[0].apply_sync(os._exit, 1)
            assert select.select([child], [], [], 20)[0], "the child has ended"
        finally:
            os.close(child)
