"""A cancelled task never starts, wherever it is by then; one that runs is interrupted."""

import time

import pytest

import oarlock

DEADLINE = 20


def slow_argument():
    """Something that travels for a while: large, but no piece of it is worth sharing memory."""
    return [bytes(700_000) for _ in range(300)]


def tell(path, _argument=None):
    """Leave a file that says that this has run."""
    with open(path, "w"):
        pass


def cancelled_unstarted(result):
    """Whether `result` ends by being cancelled, without a start."""
    with pytest.raises(oarlock.TaskCancelled, match="before it was started"):
        result.get(DEADLINE)
    return result.cancelled() and result.started is None


@pytest.fixture
def rc(new_client):
    """One engine, where order is easily told."""
    return new_client(1)


@pytest.mark.parametrize("kind", ["direct", "balanced"])
def test_cancelled_tasks_whose_arguments_still_travel_never_start(rc, tmp_path, kind):
    rc[0].apply_sync(abs, -1)
    view = rc[0] if kind == "direct" else rc.load_balanced_view()
    ran = [tmp_path / "large", tmp_path / "small"]
    large = view.apply_async(tell, str(ran[0]), slow_argument())
    small = view.apply_async(tell, str(ran[1]))
    assert large.cancel()
    assert small.cancel()
    assert cancelled_unstarted(large)
    assert cancelled_unstarted(small)
    # Comes after them on the same way: what was to start has started by then.
    assert rc[0].apply_sync(abs, -1) == 1
    assert not any(path.exists() for path in ran)


def test_a_task_behind_one_whose_argument_travels_is_cancelled_alone(rc, tmp_path):
    ran = [tmp_path / "large", tmp_path / "small"]
    large = rc[0].apply_async(tell, str(ran[0]), slow_argument())
    small = rc[0].apply_async(tell, str(ran[1]))
    assert small.cancel()
    assert cancelled_unstarted(small)
    assert large.get(DEADLINE) is None
    assert rc[0].apply_sync(abs, -1) == 1
    assert [path.exists() for path in ran] == [True, False]


def test_a_large_task_cancelled_behind_a_running_one_never_starts(rc, tmp_path, gate):
    held = rc[0].apply_async(gate.hold, "value")
    gate.wait_begun()
    large = rc[0].apply_async(tell, str(tmp_path / "ran"), slow_argument())
    assert large.cancel()
    assert cancelled_unstarted(large)
    gate.release()
    assert held.get(DEADLINE) == "value"
    assert rc[0].apply_sync(abs, -1) == 1
    assert not (tmp_path / "ran").exists()


def test_of_a_running_and_queued_tasks_none_goes_on(rc, tmp_path, gate):
    view = rc.load_balanced_view()
    running = view.apply_async(gate.hold)
    gate.wait_begun()
    queued = [view.apply_async(tell, str(tmp_path / f"ran {number}")) for number in range(20)]
    assert all(result.cancel() for result in queued)
    assert all(cancelled_unstarted(result) for result in queued)
    assert not running.done()
    assert running.cancel()
    with pytest.raises(oarlock.TaskCancelled, match="while it ran on engine 0"):
        running.get(DEADLINE)
    assert running.cancelled()
    assert view.apply_sync(abs, -1) == 1
    assert not list(tmp_path.glob("ran *"))


def test_what_is_done_cannot_be_cancelled(rc):
    result = rc[0].apply_async(abs, -1)
    assert result.get(DEADLINE) == 1
    assert not result.cancel()
    assert not result.cancelled()
    assert result.get() == 1


def test_a_task_cancelled_at_any_moment_of_its_start_is_stopped(rc):
    # The interrupt may come when the engine has taken the task and not yet begun to run it.
    view = rc.load_balanced_view()
    for _ in range(300):
        result = view.apply_async(time.sleep, 60)
        result.cancel()
        with pytest.raises(oarlock.TaskCancelled):
            result.get(20)
