"""Load-balanced views on real engines: each call once, on whichever engine is free."""

import functools
import operator
import os
import threading

import pytest

import oarlock

# --- apply


def test_a_call_runs_once_and_gives_a_bare_value(lview):
    result = lview.apply_async(os.getpid)
    assert result.get(20) in [pid for _, _, pid, _ in lview.client._core.engines()]
    assert len(result.msg_ids) == 1
    assert isinstance(result.msg_id, str)
    assert lview.apply_sync(max, [1, 3, 2], key=operator.neg) == 1


def test_a_small_value_is_one_object_whatever_asks_for_it(lview):
    results = [lview.apply_async(divmod, 1000 * i, 7) for i in range(50)]
    seen = [[] for _ in results]

    def ask():
        for result, values in zip(results, seen, strict=True):
            values.append(result.get(20) if threading.current_thread() in asking else result.get())

    threads = [threading.Thread(target=ask) for _ in range(6)]
    asking = set(threads[::2])
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    for i, (result, values) in enumerate(zip(results, seen, strict=True)):
        values += [result.result(), result.get(return_exceptions=True), result.r]
        assert len(values) == 9
        assert values[0] == divmod(1000 * i, 7)
        assert all(value is values[0] for value in values)
        assert result.exception() is None
        assert result.split() == (result,)
        assert result.successful()
    joined = oarlock.AsyncResult.join(*results[:3])
    assert all(a is b[0] for a, b in zip(joined.get(20), seen[:3], strict=True))


def test_a_small_value_is_given_after_its_client_closed(new_client):
    client = new_client(1)
    view = client.load_balanced_view()
    first, second = view.apply_async(abs, -1), view.apply_async(abs, -2)
    assert first.get() == 1
    assert second.wait(20)
    client.close()
    assert (first.get(), second.get()) == (1, 2)


def test_apply_waits_only_when_block_is_set(lview, gate):
    result = lview.apply(gate.hold, "value")
    assert not result.ready()
    gate.release()
    assert result.get(20) == "value"
    lview.block = True
    assert lview.apply(dict, block=1, f=2) == {"block": 1, "f": 2}


def test_two_held_calls_run_on_two_engines(lview, gate):
    results = [lview.apply_async(gate.hold, i) for i in range(2)]
    gate.wait_begun(2)
    gate.release(2)
    assert [result.get(20) for result in results] == [0, 1]
    assert {result.engine_id for result in results} == {0, 1}


def test_work_goes_past_an_engine_that_is_busy(lview, gate):
    held = lview.apply_async(gate.hold)
    gate.wait_begun()
    rest = lview.map_async(lambda x: x, range(50))
    assert rest.get(20) == list(range(50))
    assert not held.ready()
    gate.release()
    held.get(20)
    assert set(rest.engine_id) == {1 - held.engine_id}


def test_targets_limit_the_choice(rc):
    for targets in (1, [1]):
        view = rc.load_balanced_view(targets)
        assert view.targets == [1]
        assert set(view.map_async(abs, range(20)).engine_id) <= {1, None}
        result = view.map_async(abs, range(20))
        result.wait(20)
        assert set(result.engine_id) == {1}
    assert rc.load_balanced_view().targets is None
    assert rc.load_balanced_view("all").targets is None
    with pytest.raises(ValueError, match="empty list"):
        rc.load_balanced_view([])
    with pytest.raises(TypeError, match="targets must be"):
        rc.load_balanced_view("some")


def test_without_an_engine_tasks_wait_for_the_first(new_client):
    rc = new_client(0)
    result = rc.load_balanced_view().map_async(abs, [-1, -2])
    assert not result.wait(0)
    assert rc.queue_status()["unassigned"] == 2
    rc.cluster.start_engines_sync(1)
    assert result.get(30) == [1, 2]


# --- map


def test_map_makes_one_task_per_item_on_all_engines(lview):
    result = lview.map_async(lambda x: x * x, range(200))
    assert result.get(20) == [x * x for x in range(200)]
    assert len(set(result.msg_ids)) == len(result) == 200
    assert result.progress == 200


def test_slow_items_are_balanced_over_the_engines(lview, gate):
    result = lview.map_async(gate.hold, range(4))
    gate.wait_begun(2)
    gate.release(4)
    assert result.get(20) == [0, 1, 2, 3]
    assert sorted(set(result.engine_id)) == [0, 1]


def test_chunksize_makes_tasks_of_so_many_items(lview):
    for options in ({"chunksize": 3}, {}):
        result = lview.map_async(lambda x: -x, range(10), **options)
        assert result.get(20) == [-x for x in range(10)]
        assert len(result.msg_ids) == 4
        assert len(result) == result.progress == 10
        lview.chunksize = 3
    assert lview.map_sync(operator.add, iter("abcde"), "vwxyz", chunksize=2) == [
        "av",
        "bw",
        "cx",
        "dy",
        "ez",
    ]
    with pytest.raises(ValueError, match="at least 1"):
        lview.map(abs, [1], chunksize=0)
    with pytest.raises(ValueError, match="at least 1"):
        lview.set_flags(chunksize=-1)
    assert lview.chunksize == 3


def test_many_small_items_come_back_complete_and_in_order(lview):
    total = sum(lview.map(lambda x: x, range(200_000), chunksize=5000))
    assert total == sum(range(200_000))
    assert lview.map_sync(abs, range(5000)) == list(range(5000))


def test_an_unordered_map_iterates_as_items_finish(lview, gate):
    hold = gate.hold
    result = lview.map_async(
        lambda x: hold(x) if x == 0 else x, range(4), ordered=False, chunksize=1
    )
    values = iter(result)
    assert sorted(next(values) for _ in range(3)) == [1, 2, 3]
    gate.release()
    assert list(values) == [0]
    assert result.get() == [0, 1, 2, 3], "get keeps the order"


def test_an_ordered_map_iterates_from_the_first_item_on_and_again(lview, gate):
    hold = gate.hold
    result = lview.map_async(lambda x: hold(x) if x == 2 else x, range(3))
    values = iter(result)
    assert [next(values), next(values)] == [0, 1]
    assert not result.ready()
    gate.release()
    assert list(values) == [2]
    assert list(result) == list(result) == [0, 1, 2]


def test_the_ordered_flag_of_the_view_counts_unless_the_call_says_otherwise(lview):
    lview.ordered = False
    assert lview.map_async(abs, [1]).ordered is False
    assert lview.map_async(abs, [1], ordered=True).ordered is True
    lview.wait()


def test_map_stops_at_the_shortest_sequence_and_reads_generators(lview):
    assert lview.map_sync(operator.add, (i for i in range(9)), [10, 20]) == [10, 21]
    assert lview.map_sync(abs, []) == []
    assert lview.map_async(abs, iter(())).ready()
    with pytest.raises(TypeError, match="at least one sequence"):
        lview.map(abs)
    with pytest.raises(TypeError, match="not iterable"):
        lview.map(abs, 5)


def test_the_first_items_run_while_a_generator_is_still_read(lview, gate):
    hold, begun = gate.hold, []

    def items():
        for i in range(3000):
            if i == 2500:
                gate.wait_begun(2)
                begun.append(True)
            yield i

    result = lview.map_async(lambda i: hold(i) if i < 2 else i, items())
    assert begun == [True]
    gate.release(2)
    assert result.get(20) == list(range(3000))


def test_an_input_that_fails_half_way_raises_its_own_error_and_withdraws_the_rest(lview, gate):
    hold = gate.hold

    def broken():
        yield from range(2000)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        lview.map_async(hold, broken())
    assert lview.wait(timeout=20), "what was sent is cancelled, also what runs"


def test_one_bad_item_spoils_no_other_also_inside_a_chunk(lview):
    for chunksize in (1, 3):
        values = lview.map_sync(
            lambda x: 6 // x, [3, 0, 2, 0, 1], chunksize=chunksize, return_exceptions=True
        )
        assert [values[0], values[2], values[4]] == [2, 3, 6]
        assert isinstance(values[1], ZeroDivisionError)
        assert isinstance(values[3], oarlock.RemoteError)


def test_an_item_that_cannot_be_pickled_fails_alone(lview):
    items = [1, threading.Lock(), 3]
    for chunksize in (1, 3):
        values = lview.map_sync(str, items, chunksize=chunksize, return_exceptions=True)
        assert [values[0], values[2]] == ["1", "3"]
        assert isinstance(values[1], oarlock.SerializationError)


def test_map_feeds_reduce_sum_and_zip(lview):
    assert functools.reduce(operator.mul, lview.map(abs, range(-5, 0))) == 120
    assert sum(lview.map(abs, range(-5, 0), ordered=False)) == 15
    assert dict(zip("ab", lview.map(abs, [-1, -2]), strict=True)) == {"a": 1, "b": 2}


# --- flags


def test_flags_that_mean_nothing_yet_accept_only_their_neutral_value(lview):
    assert (lview.follow, lview.after, lview.timeout, lview.retries) == (None, None, 0, 0)
    lview.set_flags(follow=None, after=None, timeout=0, retries=0)
    lview.set_flags(timeout=None)
    for flags in ({"follow": "x"}, {"after": "x"}):
        with pytest.raises(ValueError, match="not supported yet"):
            lview.set_flags(**flags)
    for flags in ({"timeout": -1}, {"retries": -1}):
        with pytest.raises(ValueError, match="must be from 0"):
            lview.set_flags(**flags)
    for flags in ({"timeout": "x"}, {"retries": 1.5}):
        with pytest.raises(TypeError):
            lview.set_flags(**flags)
    with lview.temp_flags(block=True, chunksize=2, ordered=False):
        assert lview.map(abs, [-1]) == [1]
    assert (lview.block, lview.chunksize, lview.ordered) == (False, 1, True)


def test_a_view_shows_its_targets_and_counts_its_engines(rc, lview):
    assert repr(lview) == "<LoadBalancedView None>"
    assert repr(rc.load_balanced_view(1)) == "<LoadBalancedView [1]>"
    assert (len(lview), len(rc.load_balanced_view(1))) == (2, 1)
    with pytest.raises(TypeError):
        iter(lview)


# --- books of the view


def test_the_history_of_a_view_has_each_task_once_and_in_order(rc, lview):
    ids = lview.apply_async(abs, 1).msg_ids
    rc.load_balanced_view().apply_async(abs, 1)
    ids += lview.map_async(abs, [1, 2, 3]).msg_ids
    lview.map_async(abs, [])
    assert lview.history == ids
    assert lview.history[-1] == ids[-1]
    assert lview.history[1:3] == ids[1:3]


def test_outstanding_and_wait_concern_this_view_only(rc, lview, gate):
    other = rc.load_balanced_view()
    result = other.apply_async(gate.hold)
    mine = lview.apply_async(abs, -1)
    assert lview.wait(timeout=20)
    assert mine.ready()
    assert lview.outstanding == set()
    assert other.outstanding == set(result.msg_ids)
    assert not other.wait(timeout=0)
    gate.release()
    assert other.wait(timeout=20)


def test_get_result_counts_in_the_history_of_the_view(rc, lview):
    first = lview.apply_async(abs, -1)
    rc[0].apply_async(abs, -9)
    lview.apply_async(abs, -2)
    assert lview.get_result().get(20) == 2
    assert lview.get_result(0).get(20) == 1
    assert lview.get_result([0, 1]).get(20) == [1, 2]
    assert lview.get_result(first.msg_ids[0], block=True).ready()
    with pytest.raises(IndexError):
        lview.get_result(7)


def test_abort_of_a_view_stops_its_own_tasks_only(rc, lview, gate):
    held = rc[:].apply_async(gate.hold)
    gate.wait_begun(2)
    mine = lview.map_async(abs, range(10))
    theirs = rc.load_balanced_view().apply_async(abs, -3)
    assert lview.abort(block=True) is None
    assert mine.wait(20)
    with pytest.raises(oarlock.TaskCancelled, match="all 10 tasks of abs were cancelled"):
        mine.get()
    gate.release(2)
    assert theirs.get(20) == 3
    assert held.get(20) == [None, None]
