"""Results of maps, and results taken apart and joined."""

import asyncio
import concurrent.futures
import functools
import operator
import threading

import pytest

from oarlock import error, serialize
from oarlock.mapresult import AsyncMapResult
from oarlock.result import AsyncResult

from .core import LOST, OK, PARTIAL, finish


def item_error(exception):
    return error.ItemError(serialize.describe(exception, {"method": "map"}))


# --- parts and wholes


def test_split_and_join_are_inverse_for_lists(make):
    result = make(3)
    pieces = result.split()
    assert pieces is result.split()
    finish(result, "a", ValueError("b"), "c")
    assert pieces[0].get() == ["a"]
    with pytest.raises(error.CompositeError):
        pieces[1].get()
    assert result.get(return_exceptions=True)[1] is pieces[1].get(return_exceptions=True)[0]
    assert AsyncResult.join(pieces[2], pieces[0]).get() == ["c", "a"]
    assert AsyncResult.join(result) is result
    with pytest.raises(ValueError, match="at least one"):
        AsyncResult.join()
    single = make()
    assert single.split() == (single,)


def test_join_makes_lists_of_single_results(make):
    joined = AsyncResult.join(finish(make(), 1), finish(make(), 2))
    assert joined.get() == [1, 2]
    assert list(joined) == [1, 2]


@pytest.mark.parametrize("items", [None, [2, 1]])
def test_pieces_of_a_map_hold_lists_of_items_and_join_to_a_map(make, items):
    result = make(2, AsyncMapResult, items)
    finish(result, *([[1, 2], [3]] if items else [1, 3]))
    pieces = result.split()
    assert [p.get() for p in pieces] == ([[[1, 2]], [[3]]] if items else [[[1]], [[3]]])
    assert list(pieces[0]) == pieces[0].get()
    joined = AsyncResult.join(*pieces)
    assert isinstance(joined, AsyncMapResult)
    assert joined.get() == list(joined) == result.get()
    assert AsyncResult.join(result, joined).get() == result.get() * 2


def test_wait_with_a_condition_gives_sets_of_pieces(make):
    result = make(2)
    finish(result, 1)
    done, pending = result.wait(return_when=concurrent.futures.FIRST_COMPLETED)
    assert (len(done), len(pending)) == (1, 1)
    assert done.pop().get() == [1]
    with pytest.raises(ValueError, match="return_when"):
        result.wait(0, "nonsense")


# --- maps


def test_a_map_counts_items(make):
    result = make(2, AsyncMapResult, [2, 3])
    assert (len(result), result.progress) == (5, 0)
    result._tasks.records[0].items_done = 1
    assert result.progress == 1
    finish(result, [1, 2], [3, 4, 5])
    assert result.progress == 5
    assert result.get() == list(result) == list(result) == [1, 2, 3, 4, 5]
    assert (result[0], result[2], result[-1], result[1:4]) == (1, 3, 5, [2, 3, 4])
    assert functools.reduce(operator.add, result) == sum(result) == 15
    assert list(zip(result, range(5), strict=True))[4] == (5, 4)


def test_a_map_iterates_while_it_runs(make):
    result = make(3, AsyncMapResult)
    result._tasks.end(0, OK, "a")
    values = iter(result)
    assert next(values) == "a"
    timer = threading.Timer(
        0.02, lambda: (result._tasks.end(2, OK, "c"), result._tasks.end(1, OK, "b"))
    )
    timer.start()
    assert list(values) == ["b", "c"]
    timer.join()


def test_an_unordered_map_iterates_in_order_of_completion_always(make):
    result = make(3, AsyncMapResult, ordered=False)
    values = iter(result)
    result._tasks.end(2, OK, "c")
    assert next(values) == "c"
    result._tasks.end(0, OK, "a")
    result._tasks.end(1, OK, "b")
    assert list(values) == ["a", "b"]
    assert list(result) == ["c", "a", "b"]
    assert result.get() == ["a", "b", "c"]


def test_a_bad_item_costs_only_itself(make):
    result = make(2, AsyncMapResult, [3, 2])
    result._tasks.end(0, PARTIAL, [1, item_error(ValueError("bad")), 3], engine=4)
    result._tasks.end(1, OK, [4, 5])
    values = result.get(return_exceptions=True)
    assert [values[i] for i in (0, 2, 3, 4)] == [1, 3, 4, 5]
    assert isinstance(values[1], ValueError)
    assert values[1].engine_info["engine_id"] == 4
    seen = iter(result)
    assert next(seen) == 1
    with pytest.raises(ValueError, match="bad"):
        next(seen)
    assert (result[0], result[2], result[4]) == (1, 3, 5)
    with pytest.raises(ValueError, match="bad"):
        result[1]
    with pytest.raises(error.CompositeError) as caught:
        result.get()
    assert caught.value[0] is values[1]


def test_a_lost_chunk_gives_one_exception_for_each_of_its_items(make):
    result = make(2, AsyncMapResult, [3, 2], return_exceptions=True)
    result._tasks.end(0, LOST)
    result._tasks.end(1, OK, [4, 5])
    for values in (result.get(), list(result), result[:]):
        assert len(values) == 5
        assert all(isinstance(value, error.EngineLost) for value in values[:3])
        assert values[3:] == [4, 5]


def test_a_map_joins_its_parts_as_asked(make):
    result = make(2, AsyncMapResult, chunked=True, join_parts="".join)
    finish(result, "ab", "c")
    assert result.get() == "abc"
    assert list(result) == ["a", "b", "c"]
    assert (len(result), result[1], result[1:], result.progress) == (3, "b", "bc", 3)


def test_an_empty_map_is_done(make):
    result = make(0, AsyncMapResult)
    assert (result.get(), list(result), len(result), result.ready(), bool(result)) == (
        [],
        [],
        0,
        True,
        True,
    )
    assert not result.cancelled()


@pytest.mark.parametrize("ordered", [True, False])
def test_a_map_iterates_in_a_coroutine(make, ordered):
    result = make(3, AsyncMapResult, ordered=ordered)

    async def main():
        loop, seen = asyncio.get_running_loop(), []
        loop.call_soon(result._tasks.end, 0, OK, "a")
        async for value in result:
            seen.append(value)
            if len(seen) < 3:
                loop.call_soon(result._tasks.end, len(seen), OK, "abc"[len(seen)])
        return seen

    assert asyncio.run(main()) == ["a", "b", "c"]
