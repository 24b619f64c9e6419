"""`Executor.map` with a `buffersize`, as `concurrent.futures` of Python 3.14 has it."""

import concurrent.futures
import inspect
import itertools
import sys

import pytest

from oarlock.views.executor import ViewExecutor

from .endless import Counted


def test_the_parameters_are_those_of_the_standard_library():
    ours = inspect.signature(ViewExecutor.map).parameters
    assert list(ours) == ["self", "fn", "iterables", "timeout", "chunksize", "buffersize"]
    if sys.version_info >= (3, 14):
        theirs = inspect.signature(concurrent.futures.Executor.map).parameters
        assert list(ours) == list(theirs)
        defaults = [parameter.default for parameter in ours.values()]
        assert defaults == [parameter.default for parameter in theirs.values()]


@pytest.mark.parametrize(("size", "step"), [(1, 1), (2, 1), (20, 1), (3, 5)])
def test_input_is_read_as_values_are_taken(rc, size, step):
    items = Counted()
    values = rc.executor().map(abs, items, buffersize=size, chunksize=step)
    assert items.read == size * step, "the buffer is filled at once"
    for taken in range(1, 50):
        assert next(values) == taken - 1
        assert taken < items.read <= taken + size * step
    values.close()


def test_all_values_come_in_order_whatever_the_buffer(rc):
    with rc.executor() as executor:
        for size, step in itertools.product([1, 3, 100], [1, 7]):
            options = {"buffersize": size, "chunksize": step}
            assert list(executor.map(abs, range(-50, 0), **options)) == list(range(50, 0, -1))
            assert list(executor.map(pow, [2, 3, 4], itertools.repeat(2), **options)) == [4, 9, 16]
            assert list(executor.map(abs, [], **options)) == []


def test_leaving_early_cancels_what_is_in_the_buffer(rc, gate):
    executor = rc.executor()
    hold = gate.hold
    values = executor.map(lambda x: hold(x) if x else x, itertools.count(), buffersize=10)
    assert next(values) == 0
    values.close()
    assert executor.view.wait(timeout=20)


def test_a_failing_item_raises_in_its_turn_and_ends_the_iterator(rc):
    values = rc.executor().map(lambda x: 6 // x, [3, 2, 0, 1], buffersize=2)
    assert [next(values), next(values)] == [2, 3]
    with pytest.raises(ZeroDivisionError):
        next(values)
    assert list(values) == []


def test_input_that_fails_raises_its_own_error_after_the_values_before_it(rc):
    def broken():
        yield from [-1, -2, -3]
        raise OSError("the disk is gone")

    values = rc.executor().map(abs, broken(), buffersize=2)
    assert [next(values), next(values), next(values)] == [1, 2, 3]
    with pytest.raises(OSError, match="the disk is gone"):
        next(values)


def test_a_buffered_map_keeps_its_time_limit(rc, gate):
    executor = rc.executor()
    hold = gate.hold
    values = executor.map(lambda x: hold(x) if x else x, range(9), timeout=0.2, buffersize=2)
    assert next(values) == 0
    with pytest.raises(concurrent.futures.TimeoutError):
        next(values)
    assert executor.view.wait(timeout=20)


def test_after_shutdown_the_buffer_is_not_filled_again(rc):
    executor = rc.executor()
    values = executor.map(abs, itertools.count(), buffersize=2)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="shut down"):
        list(values)


def test_a_direct_view_maps_with_a_buffer_too(rc):
    values = rc[:].executor.map(abs, range(-9, 0), buffersize=2)
    assert list(values) == list(range(9, 0, -1))


def test_the_buffer_is_a_number_from_1_up(rc):
    executor = rc.executor()
    for wrong, kind in ((0, ValueError), (-1, ValueError), (2.5, TypeError), ("3", TypeError)):
        with pytest.raises(kind, match="buffersize"):
            executor.map(abs, [1], buffersize=wrong)
    with pytest.raises(ValueError, match="chunksize"):
        executor.map(abs, [1], buffersize=2, chunksize=0)
    with pytest.raises(TypeError, match="at least one sequence"):
        executor.map(abs, buffersize=2)
