"""The value of a result, and what is raised in its place."""

import concurrent.futures
import multiprocessing
import operator

import pytest

from oarlock import error
from oarlock._about import About
from oarlock.result import AsyncResult

from .core import CANCELLED, ERROR, GONE, LOST, OK, REFUSED, Tasks, finish


def test_a_single_result_is_a_bare_value_and_a_list_result_a_list(make):
    assert finish(make(), 5).get() == 5
    assert finish(make(2), 5, 6).get() == [5, 6]
    assert finish(make(1, single=False), 5).get() == [5]


def test_a_value_is_unpickled_once_and_its_bytes_are_freed(make):
    result = finish(make(2), [1], [2])
    assert result.get() is result.get()
    assert [r.reads for r in result._tasks.records] == [1, 1]
    assert [r.parts for r in result._tasks.records] == [None, None]


def test_a_wait_that_runs_out_raises_what_users_of_both_libraries_catch(make):
    result = make(2)
    for caught in (TimeoutError, multiprocessing.TimeoutError, error.TimeoutError):
        with pytest.raises(caught, match="0 of 2 tasks"):
            result.get(0)
    assert result.wait(0) is False
    assert result.wait(0.001) is False


def test_a_single_failure_is_its_own_exception_the_same_each_time(make):
    result = finish(make(), KeyError("k"))
    with pytest.raises(KeyError) as first:
        result.get()
    with pytest.raises(error.RemoteError) as second:
        result.result()
    assert first.value is second.value is result.exception()
    assert first.value.engine_info["engine_id"] == 0
    assert not result.successful()


def test_failures_of_a_list_are_told_together_after_all_are_done(make):
    result = make(3)
    result._tasks.end(0, ERROR, ValueError("a"))
    with pytest.raises(error.TimeoutError):
        result.get(0)
    result._tasks.end(1, OK, 1)
    result._tasks.end(2, ERROR, KeyError("b"))
    with pytest.raises(error.CompositeError, match="raised in: f") as caught:
        result.get()
    assert [e[0] for e in caught.value.elist] == ["ValueError", "KeyError"]
    assert result.exception() is caught.value
    with pytest.raises(error.CompositeError) as again:
        result.get()
    assert again.value is caught.value


def test_raising_again_does_not_lengthen_the_traceback(make):
    result = finish(make(), ValueError("a"))
    lengths = []
    for _ in range(3):
        with pytest.raises(ValueError, match="a") as caught:
            result.get()
        lengths.append(len(caught.traceback))
    assert len(set(lengths)) == 1


def test_first_exception_raises_while_others_run(make):
    result = make(2)
    result._tasks.end(1, ERROR, ValueError("a"))
    with pytest.raises(error.CompositeError) as caught:
        result.get(return_when=concurrent.futures.FIRST_EXCEPTION)
    assert len(caught.value) == 1
    with pytest.warns(UserWarning, match="FIRST_COMPLETED"), pytest.raises(error.TimeoutError):
        result.get(0, return_when=concurrent.futures.FIRST_COMPLETED)
    with pytest.raises(ValueError, match="return_when"):
        result.get(0, return_when="nonsense")


def test_exceptions_can_be_given_as_values(make):
    single = finish(make(), ValueError("a"))
    assert isinstance(single.get(return_exceptions=True), ValueError)
    both = finish(make(2), ValueError("a"), 2)
    values = both.get(return_exceptions=True)
    assert isinstance(values[0], error.RemoteError)
    assert values[1] == 2
    kept = finish(make(2, return_exceptions=True), ValueError("a"), 2)
    assert kept.get()[1] == kept.result()[1] == 2
    assert kept.exception() is None
    assert kept.successful()


@pytest.mark.parametrize(
    ("status", "raised", "text"),
    [
        (LOST, error.EngineLost, "SIGKILL"),
        (CANCELLED, error.TaskCancelled, "s_0"),
        (REFUSED, KeyError, "no such task"),
    ],
)
def test_tasks_without_an_outcome_of_their_own_say_why(make, status, raised, text):
    result = make()
    result._tasks.end(0, status)
    with pytest.raises(raised, match=text):
        result.get()


@pytest.mark.parametrize(
    ("reason", "raised"),
    [
        ("the client was closed", error.ClosedClient),
        ("the cluster was stopped", error.ControllerLost),
    ],
)
def test_when_the_controller_is_gone_the_whole_result_is(make, client, reason, raised):
    client._core.reason = reason
    result = make(2)
    result._tasks.end(0, OK, 1)
    result._tasks.end(1, GONE)
    with pytest.raises(raised, match=reason):
        result.get()
    assert result.status == ["ok", "error"]


class Unreadable:
    def __reduce__(self):
        return operator.truediv, (1, 0)


def test_a_value_that_cannot_be_unpickled_fails_only_its_task(make):
    result = finish(make(2), Unreadable(), 2)
    assert result[1] == 2
    with pytest.raises(error.ResultUnreadable, match="s_0") as caught:
        result[0]
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(error.CompositeError):
        result.get()


def test_asking_for_success_before_the_end_raises_what_users_of_both_libraries_catch(make):
    for caught in (RuntimeError, ValueError, error.NotReady):
        with pytest.raises(caught):
            make().successful()
    assert finish(make(), 1).successful()


def test_values_by_engine(make):
    result = finish(make(3), "a", "b", "c")
    assert result.get_dict() == result.result_dict == {0: "a", 1: "b", 2: "c"}
    assert finish(make(), 4).get_dict() == {0: 4}
    twice = make(2)
    twice._tasks.end(0, OK, 1, engine=5)
    twice._tasks.end(1, OK, 1, engine=5)
    with pytest.raises(ValueError, match="engine 5"):
        twice.get_dict()


def test_bytes_freed_by_another_result_are_fetched_again(make, client):
    first = finish(make(), 5)
    second = AsyncResult(About(client, single=True), first._tasks)
    kept = Tasks.make(client._core, 1)
    kept.end(0, OK, 5)
    client._core.kept["s_0"] = kept
    assert (first.get(), second.get()) == (5, 5)
    third = AsyncResult(About(client, single=True), first._tasks)
    client._core.kept["s_0"] = refused = Tasks.make(client._core, 1)
    refused.end(0, REFUSED)
    with pytest.raises(error.ResultUnreadable, match="no longer kept"):
        third.get()


# --- elements


def test_elements_are_there_before_the_others(make):
    result = make(3)
    result._tasks.end(1, OK, "b")
    assert result[1] == result[-2] == "b"
    with pytest.raises(error.TimeoutError):
        result[0]
    with pytest.raises(error.TimeoutError):
        result[:2]
    result._tasks.end(0, OK, "a")
    assert result[:2] == ["a", "b"]
    with pytest.raises(IndexError):
        result[3]
    with pytest.raises(TypeError):
        result[1.5]


def test_a_single_result_indexes_into_its_value(make):
    assert finish(make(), [1, 2, 3])[1:] == [2, 3]
    with pytest.raises(TypeError):
        finish(make(), 5)[0]
    with pytest.raises(TypeError, match="one call"):
        iter(make())


def test_a_list_result_iterates_and_raises_where_the_failure_stands(make):
    values = iter(finish(make(3), 1, ValueError("b"), 3))
    assert next(values) == 1
    with pytest.raises(ValueError, match="b"):
        next(values)
