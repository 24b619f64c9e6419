"""A joined result waits for all its parts, also when the first of them has no tasks."""

import asyncio
import concurrent.futures
import threading

import pytest

from oarlock import AsyncResult

DEADLINE = 20


@pytest.fixture
def empty(lview):
    """The result of a map over nothing."""
    return lview.map_async(abs, [])


@pytest.fixture
def held(rc, gate):
    """A result of two tasks that run until the gate lets them go."""
    result = rc[:].apply_async(gate.hold, "value")
    gate.wait_begun(2)
    return result


def test_the_tasks_and_ids_are_those_of_the_parts(empty, held, gate):
    joined = AsyncResult.join(empty, held)
    assert joined.msg_ids == held.msg_ids
    assert AsyncResult.join(held, empty).msg_ids == held.msg_ids
    assert AsyncResult.join(empty, empty, held).msg_ids == held.msg_ids
    assert not joined.wait(0)
    gate.release(2)
    assert joined.get(DEADLINE) == ["value", "value"]


def test_a_callback_is_called_once_when_all_is_done(empty, held, gate):
    called, seen = threading.Event(), []

    def callback(result):
        seen.append(result)
        called.set()

    joined = AsyncResult.join(empty, held)
    joined.add_done_callback(callback)
    assert not called.is_set()
    gate.release(2)
    assert called.wait(DEADLINE)
    assert joined.get(DEADLINE) == ["value", "value"]
    assert seen == [joined]


def test_concurrent_futures_waits_for_it(empty, held, gate):
    joined = AsyncResult.join(empty, held)
    assert concurrent.futures.wait([joined], timeout=0).not_done == {joined}
    gate.release(2)
    assert concurrent.futures.wait([joined], timeout=DEADLINE).done == {joined}
    assert list(concurrent.futures.as_completed([joined], timeout=DEADLINE)) == [joined]


def test_it_can_be_awaited(empty, held, gate):
    async def awaited():
        waiting = asyncio.ensure_future(_await(AsyncResult.join(empty, held)))
        # Let it come to its wait.
        await asyncio.sleep(0)
        gate.release(2)
        return await asyncio.wait_for(waiting, DEADLINE)

    async def _await(result):
        return await result

    assert asyncio.run(awaited()) == ["value", "value"]


def test_it_is_iterated_as_its_parts_finish(empty, held, gate):
    gate.release(2)
    assert list(AsyncResult.join(empty, held)) == ["value", "value"]


def test_of_empty_parts_alone_it_is_done(lview, empty):
    joined = AsyncResult.join(empty, lview.map_async(abs, []))
    called = threading.Event()
    joined.add_done_callback(lambda _: called.set())
    assert called.wait(DEADLINE)
    assert (joined.get(DEADLINE), joined.msg_ids, list(joined)) == ([], [], [])
    assert concurrent.futures.wait([joined], timeout=DEADLINE).done == {joined}


def test_maps_are_joined_to_a_map(lview, empty):
    joined = AsyncResult.join(empty, lview.map_async(abs, [-1, 2]), empty)
    assert joined.get(DEADLINE) == [1, 2]
    assert joined[1] == 2
