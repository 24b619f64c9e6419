"""A result as a future: for `concurrent.futures`, for coroutines, with callbacks and an end."""

import asyncio
import concurrent.futures
import gc
import logging
import threading
import weakref

import pytest

from oarlock import error

from .core import CANCELLED, OK, finish


def test_making_a_result_makes_no_future_machinery(make):
    result = finish(make(), 1)
    assert result.get() == 1
    assert result.wait()
    assert "_condition" not in vars(result)


def test_it_is_a_future_for_wait_and_as_completed(make):
    results = [make() for _ in range(4)]
    assert all(isinstance(r, concurrent.futures.Future) for r in results)
    finish(results[2], "first")
    order = []
    for done in concurrent.futures.as_completed(results, timeout=10):
        order.append(results.index(done))
        left = [i for i in (0, 3, 1) if i not in order]
        if left:
            finish(results[left[0]], "next")
    assert order == [2, 0, 3, 1]
    done, pending = concurrent.futures.wait([results[0], make()], return_when="FIRST_COMPLETED")
    assert (len(done), len(pending)) == (1, 1)


def test_wait_for_the_first_exception_sees_failures(make):
    good, bad, never = make(), make(), make()

    def end():
        finish(good, 1)
        finish(bad, ValueError("a"))

    thread = threading.Thread(target=end)
    thread.start()
    done, _ = concurrent.futures.wait([good, bad, never], timeout=10, return_when="FIRST_EXCEPTION")
    thread.join()
    assert bad in done
    assert never not in done


def test_callbacks_may_get_the_result_and_failing_ones_are_logged(make, caplog):
    result, seen, called = make(), [], threading.Event()

    def fails(_):
        raise RuntimeError("callback")

    result.add_done_callback(fails)
    result.add_done_callback(lambda r: (seen.append(r.get()), called.set()))
    with caplog.at_level(logging.ERROR):
        finish(result, 7)
        assert called.wait(10)
    assert seen == [7]
    assert "callback" in caplog.text
    result.add_done_callback(lambda r: seen.append("at once"))
    assert seen == [7, "at once"]


def test_cancel_asks_and_tells_the_truth(make, client):
    result = make(2)
    assert result.cancel()
    assert client._core.cancelled == [result._tasks]
    assert not result.cancelled()
    result._tasks.end(0, CANCELLED)
    result._tasks.end(1, CANCELLED)
    assert result.cancelled()
    assert not result.cancel()
    with pytest.raises(RuntimeError):
        result.abort()
    with pytest.raises(concurrent.futures.CancelledError):
        result.exception()
    partly = make(2)
    partly._tasks.end(0, CANCELLED)
    partly._tasks.end(1, OK, 1)
    assert not partly.cancelled()
    assert isinstance(partly.exception(), error.CompositeError)
    make().abort()


def test_results_can_be_awaited(make):
    result, bad, gone = make(), make(), make()

    async def main():
        loop = asyncio.get_running_loop()
        loop.call_soon(finish, result, 3)
        assert await result == 3
        assert await result == 3
        loop.call_soon(finish, bad, ValueError("a"))
        with pytest.raises(ValueError, match="a"):
            await asyncio.wrap_future(bad)
        loop.call_soon(gone._tasks.end, 0, CANCELLED)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wrap_future(gone)
        slow = make()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(slow, 0.01)
        assert slow._client._core.cancelled == []

    asyncio.run(main())


def test_closing_the_client_ends_all_waits(make, client):
    result, waited, finished = make(), make(), finish(make(), 1)
    told = threading.Event()
    result.add_done_callback(lambda r: told.set())
    client._core.close()
    assert told.wait(10)
    for each in (result, waited):
        with pytest.raises(error.ClosedClient):
            each.get()
    with pytest.raises(error.ClosedClient):
        result.exception()
    assert result.done()
    assert finished.get() == 1
    done, _ = concurrent.futures.wait([waited], timeout=10)
    assert done == {waited}


def test_a_wait_interrupted_by_closing_says_so(make, client):
    result = make()
    closer = threading.Timer(0.02, client._core.close)
    closer.start()
    with pytest.raises(error.ClosedClient, match="1 of 1"):
        result.get()
    closer.join()


def test_a_forked_child_is_refused(make, client):
    result = finish(make(), 1)
    client.gone = error.ForkedClient("forked")
    for use in (
        result.get,
        result.wait,
        lambda: concurrent.futures.wait([result]),
        lambda: result[0],
    ):
        with pytest.raises(error.ForkedClient):
            use()


def test_a_result_is_freed_when_nobody_holds_it(make):
    result = finish(make(2), 1, ValueError("a"))
    with pytest.raises(error.CompositeError):
        result.get()
    gone = weakref.ref(result)
    del result
    gc.collect()
    assert gone() is None
