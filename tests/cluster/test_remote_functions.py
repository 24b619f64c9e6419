"""Decorated functions and executors on real engines."""

import asyncio
import concurrent.futures
import inspect
import math
import operator
import os
import threading
import time

import pytest

import oarlock

# --- remote


def test_a_remote_function_runs_on_all_engines_of_its_view(rc, view):
    @view.remote(block=True)
    def pid():
        """The process."""
        return os.getpid()

    assert pid() == view.apply_sync(os.getpid)
    assert isinstance(pid, oarlock.RemoteFunction)
    assert pid.__name__ == "pid"
    assert "The process." in pid.__doc__
    assert pid.func() == os.getpid(), "the function itself is still to be had"
    assert "pid" in repr(pid)


def test_a_remote_function_takes_any_arguments_and_keeps_its_signature(lview):
    @lview.remote(block=True)
    def power(base, exponent=2, *, modulus=None):
        return pow(base, exponent, modulus)

    assert power(3) == 9
    assert power(3, exponent=4, modulus=5) == 1
    assert list(inspect.signature(power).parameters) == ["base", "exponent", "modulus"]


def test_block_is_fixed_when_the_function_is_decorated(view):
    f = view.remote()(abs)
    view.block = True
    result = f(-1)
    assert isinstance(result, oarlock.AsyncResult)
    assert result.get(20) == [1, 1]
    assert view.remote()(abs)(-1) == [1, 1]
    assert isinstance(view.remote(block=False)(abs)(-1), oarlock.AsyncResult)
    view.wait()


def test_flags_of_a_remote_function_leave_its_view_alone(view):
    f = view.remote(block=True, targets=[1])(os.getpid)
    assert f() == view.client[[1]].apply_sync(os.getpid)
    assert view.targets == [0, 1]
    assert view.block is False
    assert len(view.history) == 1, "what it ran is in the history of the view"
    with pytest.raises(KeyError, match="no flag"):
        view.remote(nonsense=1)(abs)(1)


def test_remote_and_parallel_exist_as_functions_too(view):
    assert oarlock.remote(view, block=True)(abs)(-2) == [2, 2]
    assert oarlock.parallel(view, block=True)(sorted)([2, 1, 4, 3]) == [1, 2, 3, 4]


def test_a_remote_function_raises_what_it_raised(lview):
    with pytest.raises(ZeroDivisionError):
        lview.remote(block=True)(lambda x: 1 // x)(0)


# --- parallel


def test_a_parallel_function_is_called_once_on_each_part(view):
    @view.parallel(block=True)
    def doubled(part):
        return [2 * x for x in part]

    assert doubled(range(5)) == [0, 2, 4, 6, 8]
    assert doubled(x for x in (1, 2, 3)) == [2, 4, 6]
    assert len(view.history) == 4
    assert view.parallel(block=True)(len)(range(5)) == [3, 2]
    assert view.parallel(block=True)("".join)("abc") == ["ab", "c"]


def test_a_parallel_function_may_deal_out_its_arguments(view):
    f = view.parallel(dist="r", block=True)(list)
    assert f([0, 1, 2, 3, 4]) == [0, 1, 2, 3, 4]
    assert view.parallel(dist="r", block=True)(lambda part: str(list(part)))([0, 1, 2]) == [
        "[0, 2]",
        "[1]",
    ]
    with pytest.raises(KeyError, match="no distribution"):
        view.parallel(dist="x")(list)


def test_a_parallel_function_on_arrays_gives_an_array(view):
    numpy = pytest.importorskip("numpy")
    a, b = numpy.arange(1000.0), numpy.ones(1000)
    for dist in ("b", "r"):
        summed = view.parallel(dist=dist, block=True)(numpy.add)(a, b)
        assert isinstance(summed, numpy.ndarray)
        assert numpy.array_equal(summed, a + 1)


def test_a_parallel_function_maps_item_by_item_on_request(view, lview):
    for some in (view, lview):
        f = some.parallel(block=True)(operator.add)
        assert f.map([1, 2, 3], [10, 20, 30, 40]) == [11, 22, 33]
        assert f.map([], []) == []
    assert len(lview.history) == 2, "one task per engine, not per item"


def test_a_parallel_function_refuses_what_it_cannot_cut(view):
    f = view.parallel(block=True)(operator.add)
    with pytest.raises(ValueError, match="same length"):
        f([1, 2], [1])
    with pytest.raises(TypeError, match="no keyword arguments"):
        f([1], x=2)
    with pytest.raises(TypeError, match="at least one sequence"):
        f()
    with pytest.raises(TypeError, match="at least one sequence"):
        f.map()
    assert f([], []) == []


def test_a_parallel_function_without_block_gives_a_result_to_iterate(view):
    f = view.parallel()(lambda part: [-x for x in part])
    result = f(range(6))
    assert isinstance(result, oarlock.AsyncMapResult)
    assert list(result) == result.get(20) == [0, -1, -2, -3, -4, -5]


def test_chunks_of_a_parallel_function_on_a_balanced_view(view, lview):
    f = lview.parallel(block=True, chunksize=2)(lambda part: [list(part)])
    assert f(range(5)) == [[0, 1], [2, 3], [4]]
    with pytest.warns(UserWarning, match="chunksize is ignored"):
        assert view.parallel(block=True, chunksize=2)(list)(range(5)) == [0, 1, 2, 3, 4]


def test_exceptions_take_the_place_of_parts_that_failed(view):
    def check(part):
        if 0 in part:
            raise ValueError("zero")
        return list(part)

    f = view.parallel(block=True, return_exceptions=True)(check)
    values = f([0, 1, 2, 3])
    assert any(isinstance(value, ValueError) for value in values)
    with pytest.raises(oarlock.CompositeError):
        view.parallel(block=True)(check)([0, 1, 2, 3])


# --- executors


def test_an_executor_submits_and_maps_as_others_do(rc):
    with rc.executor() as executor:
        assert isinstance(executor, concurrent.futures.Executor)
        future = executor.submit(pow, 2, 10)
        assert isinstance(future, concurrent.futures.Future)
        assert future.result(20) == 1024
        values = executor.map(operator.add, range(5), [10, 20, 30])
        assert iter(values) is values
        assert list(values) == [10, 21, 32]
        assert list(executor.map(abs, range(-50, 0), chunksize=7)) == list(range(50, 0, -1))


def test_futures_of_an_executor_work_with_the_standard_library(rc):
    with rc.executor() as executor:
        futures = {executor.submit(math.factorial, n): n for n in range(10)}
        for future in concurrent.futures.as_completed(futures, timeout=20):
            assert future.result() == math.factorial(futures[future])
        done, pending = concurrent.futures.wait(futures, timeout=20)
        assert (len(done), len(pending)) == (10, 0)

        async def main():
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(executor, math.sqrt, 16)

        assert asyncio.run(main()) == 4


def test_an_executor_that_was_shut_down_takes_no_work_and_ends_no_engine(rc):
    executor = rc.executor()
    future = executor.submit(abs, -1)
    executor.shutdown()
    assert future.done(), "shutdown waits"
    for use in (lambda: executor.submit(abs, 1), lambda: executor.map(abs, [1])):
        with pytest.raises(RuntimeError, match="shut down"):
            use()
    assert rc.executor().submit(abs, -2).result(20) == 2
    assert rc.ids == [0, 1]


def test_shutdown_may_cancel_what_has_not_finished(rc, gate):
    held = rc[:].apply_async(gate.hold)
    gate.wait_begun(2)
    executor = rc.executor()
    futures = [executor.submit(abs, i) for i in range(5)]
    executor.shutdown(cancel_futures=True)
    assert all(future.cancelled() for future in futures)
    assert not held.ready()
    gate.release(2)
    held.get(20)


def test_shutdown_need_not_wait(rc, gate):
    executor = rc.executor()
    future = executor.submit(gate.hold, "value")
    executor.shutdown(wait=False)
    assert not future.done()
    gate.release()
    assert future.result(20) == "value"


def test_a_map_of_an_executor_keeps_its_time_limit(rc, gate):
    executor = rc.executor()
    hold = gate.hold
    values = executor.map(lambda x: hold(x) if x else x, [0, 1], timeout=0.2)
    assert next(values) == 0
    with pytest.raises(concurrent.futures.TimeoutError):
        next(values)
    assert executor.view.wait(timeout=20), "leaving early cancels the rest"


def test_an_executor_on_a_direct_view_gives_lists(rc):
    executor = rc[:].executor
    assert executor.submit(abs, -1).result(20) == [1, 1]
    assert list(executor.map(abs, [-1, -2, -3])) == [1, 2, 3]


def test_an_executor_may_be_limited_to_some_engines(rc):
    executor = rc.executor(1)
    assert executor.submit(os.getpid).result(20) == rc[1].apply_sync(os.getpid)


def test_callbacks_run_when_a_future_is_done(rc, gate):
    called = threading.Event()
    future = rc.executor().submit(gate.hold, 5)
    future.add_done_callback(lambda done: called.set() if done.result() == 5 else None)
    assert not called.is_set()
    gate.release()
    assert called.wait(20)


def test_exceptions_of_an_executor_are_of_their_own_type(rc):
    future = rc.executor().submit(lambda: {}["missing"])
    with pytest.raises(KeyError):
        future.result(20)
    assert isinstance(future.exception(), oarlock.RemoteError)
    with pytest.raises(ZeroDivisionError):
        list(rc.executor().map(lambda x: 1 // x, [1, 0]))


def test_many_threads_may_share_an_executor(rc):
    executor = rc.executor()
    started = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        futures = list(threads.map(lambda i: executor.submit(abs, -i), range(200)))
    assert [future.result(20) for future in futures] == list(range(200))
    assert time.monotonic() - started < 20
