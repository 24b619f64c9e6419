"""Tasks whose engine ends or that fail for a while: who is run again, where, and how often."""

import os
import signal
import time

import pytest

import oarlock


@pytest.fixture
def marks(tmp_path):
    """A function that marks that a task begins, and one that tells how often each did."""
    path = str(tmp_path / "marks")

    def mark(item):
        import os

        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, f"{item} {os.getpid()}\n".encode())
        os.close(file)

    def read():
        with open(path) as lines:
            return [tuple(map(int, line.split())) for line in lines]

    return mark, read


def test_a_task_is_run_again_on_another_engine_when_its_own_ends(marks):
    mark, read = marks

    def die_once(item):
        mark(item)
        if oarlock.current_attempt() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return oarlock.current_attempt()

    with oarlock.Cluster(n=2) as rc:
        lview = rc.load_balanced_view(retries=1)
        assert lview.apply_sync(die_once, 7) == 2
        assert [item for item, _ in read()] == [7, 7]
        assert len({pid for _, pid in read()}) == 2


def test_without_retries_a_task_is_lost_with_its_engine_and_says_so():
    with oarlock.Cluster(n=2) as rc:
        lview = rc.load_balanced_view()
        with pytest.raises(oarlock.EngineLost, match="`retries` is 0") as caught:
            lview.apply_sync(os.kill, 0, signal.SIGKILL)
        assert caught.value.attempt == 1


def test_the_last_attempt_tells_how_many_there_were():
    with oarlock.Cluster(n=2) as rc:
        with pytest.raises(oarlock.EngineLost, match="attempt 2") as caught:
            rc.load_balanced_view(retries=1).apply_sync(os._exit, 5)
        assert not isinstance(caught.value, oarlock.PoisonTask)
        assert caught.value.cause == "exit code 5"


def test_tasks_that_wait_in_an_engine_survive_it_without_retries(gate, marks):
    mark, read = marks
    hold = gate.hold

    def begin(item):
        mark(item)
        return hold(item)

    with oarlock.Cluster(n=1) as rc:
        results = [rc.load_balanced_view().apply_async(begin, item) for item in range(4)]
        gate.wait_begun()
        rc.send_signal(signal.SIGKILL)
        with pytest.raises(oarlock.EngineLost):
            results[0].get(20)
        rc.cluster.start_engines_sync(1)
        gate.release(4)
        assert [result.get(20) for result in results[1:]] == [1, 2, 3]
        assert sorted(item for item, _ in read()) == [0, 1, 2, 3]


def test_a_task_that_ends_every_engine_is_refused_after_three():
    with oarlock.Cluster(n=4) as rc:
        with pytest.raises(oarlock.PoisonTask, match="3 engines"):
            rc.load_balanced_view(retries=10).apply_sync(os._exit, 3)
        assert len(rc.ids) == 1


def test_an_exception_that_is_named_is_tried_again_elsewhere(marks):
    mark, read = marks

    def flaky(item):
        mark(item)
        if oarlock.current_attempt() < 3:
            raise OSError("busy")
        return item

    with oarlock.Cluster(n=3) as rc:
        lview = rc.load_balanced_view(retries=2, retry_on=OSError)
        assert lview.apply_sync(flaky, 5) == 5
        assert len({pid for _, pid in read()}) == 3
        assert lview.map_sync(flaky, [6, 7]) == [6, 7]
        with pytest.raises(oarlock.CompositeError) as caught:
            lview.map_sync(flaky, [8], retries=1)
        assert isinstance(caught.value.exceptions[0], OSError)


def test_an_exception_that_is_not_named_is_final(marks):
    mark, read = marks

    def fail(item):
        mark(item)
        raise ValueError(item)

    with oarlock.Cluster(n=2) as rc:
        lview = rc.load_balanced_view(retries=5, retry_on=(OSError, KeyError))
        with pytest.raises(ValueError, match="3"):
            lview.apply_sync(fail, 3)
        assert len(read()) == 1


def test_a_map_is_whole_though_an_engine_is_killed_in_the_middle(marks):
    mark, read = marks

    def double(item):
        mark(item)
        if item == 100 and oarlock.current_attempt() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return 2 * item

    with oarlock.Cluster(n=2) as rc:
        values = rc.load_balanced_view().map_sync(double, range(300), retries=1)
        assert values == [2 * item for item in range(300)]
        begun = [item for item, _ in read()]
        assert begun.count(100) == 2
        # Beside it only what had ended and could not be told any more may have begun again.
        assert set(begun) == set(range(300))


def test_flags_that_make_no_sense_are_refused_at_once():
    with oarlock.Cluster(n=1) as rc:
        lview = rc.load_balanced_view()
        with pytest.raises(ValueError, match="retries"):
            lview.retries = -1
        with pytest.raises(TypeError, match="retry_on"):
            lview.retry_on = "OSError"
        with pytest.raises(ValueError, match="timeout"):
            lview.timeout = -1
        with pytest.raises(ValueError, match="chunksize"):
            lview.set_flags(retries=1, retry_on=OSError).map(abs, [1, 2], chunksize=2)


def test_the_attempt_is_only_known_inside_a_task():
    with pytest.raises(RuntimeError, match="no task"):
        oarlock.current_attempt()


def test_a_task_that_runs_longer_than_its_timeout_is_interrupted():
    with oarlock.Cluster(n=1) as rc:
        lview = rc.load_balanced_view(timeout=0.05)
        late = lview.apply_async(time.sleep, 60)
        with pytest.raises(oarlock.TaskTimeout, match="longer"):
            late.get(20)
        assert lview.apply_sync(abs, -3) == 3
        assert rc.ids == [0]
        with pytest.raises(oarlock.TaskTimeout):
            rc[0].set_flags(timeout=0.05).apply_sync(time.sleep, 60)


@pytest.fixture
def stubborn(gate):
    """A task that is held and takes no notice of an interrupt."""
    hold = gate.hold

    def stubborn():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        hold()

    return stubborn


def test_the_engine_of_a_task_that_takes_no_notice_is_ended_by_force_only(gate, stubborn):
    with oarlock.Cluster(n=2) as rc:
        lview = rc.load_balanced_view()
        result = lview.apply_async(stubborn)
        gate.wait_begun()
        result.cancel()
        assert not result.wait(0.5)
        result.cancel(force=0.1)
        with pytest.raises(oarlock.TaskCancelled, match="its engine was ended"):
            result.get(20)
        assert lview.apply_sync(abs, -1) == 1


def test_a_timeout_by_force_ends_the_engine_and_not_the_work_of_others(stubborn):
    with oarlock.Cluster(n=2) as rc:
        lview = rc.load_balanced_view(timeout=0.1, force=True)
        stuck = lview.apply_async(stubborn)
        others = rc.load_balanced_view().map_async(abs, range(100))
        with pytest.raises(oarlock.TaskTimeout):
            stuck.get(20)
        assert others.get(20) == list(range(100))


def test_parallel_functions_are_tried_again_too(marks):
    mark, read = marks

    def flaky(part):
        mark(part[0])
        if oarlock.current_attempt() == 1:
            raise OSError("busy")
        return part

    with oarlock.Cluster(n=2) as rc:
        lview = rc.load_balanced_view(retries=1, retry_on=OSError)
        assert lview.parallel(block=True)(flaky)([1, 2, 3, 4]) == [1, 2, 3, 4]
        assert len(read()) == 4
