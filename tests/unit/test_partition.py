"""How sequences are cut and put together again."""

import pickle
from array import array

import numpy as np
import pytest

from oarlock import partition
from oarlock.partition import Block, Columns, RoundRobin, bounds


@pytest.mark.parametrize("q", [1, 2, 3, 7, 20])
@pytest.mark.parametrize("n", [0, 1, 2, 5, 19, 20, 21])
def test_runs_cover_all_items_once_and_the_longer_ones_come_first(n, q):
    cuts = bounds(n, q)
    assert len(cuts) == q
    assert [i for start, stop in cuts for i in range(start, stop)] == list(range(n))
    sizes = [stop - start for start, stop in cuts]
    assert sizes == sorted(sizes, reverse=True)
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("q", [0, -1])
def test_cutting_into_no_parts_is_an_error(q):
    with pytest.raises(ValueError, match="at least 1"):
        bounds(3, q)
    with pytest.raises(ValueError, match="at least 1"):
        RoundRobin().split([1], q)


@pytest.mark.parametrize("way", [Block(), RoundRobin()])
@pytest.mark.parametrize("seq", [list(range(7)), tuple(range(7)), range(7), [], [[1], [2]]])
@pytest.mark.parametrize("q", [1, 2, 3, 9])
def test_joining_undoes_splitting(way, seq, q):
    assert way.join(way.split(seq, q)) == list(seq)


@pytest.mark.parametrize("way", [Block(), RoundRobin()])
@pytest.mark.parametrize("shape", [(5,), (5, 2), (1,), (0,)])
def test_joining_parts_of_an_array_gives_the_array_with_its_type(way, shape):
    whole = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    joined = way.join(way.split(whole, 3))
    assert joined.dtype == whole.dtype
    np.testing.assert_array_equal(joined, whole)


@pytest.mark.parametrize("way", [Block(), RoundRobin()])
def test_parts_keep_the_type_of_what_was_cut(way):
    for seq in ([1, 2, 3], (1, 2, 3), range(3), np.arange(3), array("d", [1, 2])):
        assert all(type(part) is type(seq) for part in way.split(seq, 2))


@pytest.mark.parametrize("way", [Block(), RoundRobin()])
def test_parts_that_are_no_sequences_become_one_list(way):
    assert way.join(["ab", "cd"]) == ["ab", "cd"]
    assert way.join([1, [2]]) == [1, [2]]
    assert way.join([]) == []


def test_an_unknown_distribution_is_a_key_error_naming_those_there_are():
    with pytest.raises(KeyError, match=r"'x'.*'b'.*'r'"):
        partition.partitioner("x")
    with pytest.raises(KeyError):
        partition.partitioner(["b"])


def test_only_what_iterates_like_its_slices_is_not_copied():
    for seq in ([1], (1,), range(1), "a", b"a", np.arange(1)):
        assert partition.sliceable(seq) is seq
    assert partition.sliceable({"a": 1}) == ["a"]
    assert partition.sliceable(i for i in range(2)) == [0, 1]
    with pytest.raises(TypeError):
        partition.sliceable(3)
    with pytest.raises(TypeError):
        partition.sliceable(np.float64(3))


def test_a_list_with_an_iteration_of_its_own_is_iterated():
    class Doubled(list):
        def __iter__(self):
            return (2 * x for x in super().__iter__())

    assert partition.sliceable(Doubled([1, 2])) == [2, 4]


def test_columns_yield_argument_tuples_as_many_as_the_shortest_has():
    columns = Columns(range(5), "abc")
    assert list(columns) == [(0, "a"), (1, "b"), (2, "c")]
    assert len(columns) == 3
    assert list(columns.cut(1, 3)) == [(1, "b"), (2, "c")]
    assert len(Columns()) == 0


def test_columns_travel_as_their_sequences():
    whole = Columns(range(1_000_000))
    body = pickle.dumps(whole, 5)
    assert len(body) < 200
    assert list(pickle.loads(body)) == list(whole)


def test_columns_leave_arrays_out_of_the_pickle():
    buffers = []
    body = pickle.dumps(Columns(np.arange(10_000)), 5, buffer_callback=buffers.append)
    assert len(body) < 1_000
    assert sum(buffer.raw().nbytes for buffer in buffers) == 80_000
