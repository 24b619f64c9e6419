"""Results, on a core made of Python whose tasks end when a test says so."""

import asyncio
import concurrent.futures
import functools
import gc
import logging
import multiprocessing
import operator
import pickle
import queue
import threading
import weakref
from datetime import UTC, datetime, timedelta

import pytest

from oarlock import error, serialize
from oarlock._dispatch import Dispatcher
from oarlock.mapresult import AsyncMapResult
from oarlock.result import AsyncResult

PENDING, OK, ERROR, PARTIAL, CANCELLED, LOST, REFUSED, GONE = range(8)
START = datetime(2026, 1, 1, tzinfo=UTC)


class Core:
    """What results ask of `_oarlock.Client`."""

    def __init__(self):
        self.closed = False
        self.reason = "no such task, or its result is no longer kept"
        self.cancelled = []
        self.tokens = queue.SimpleQueue()
        self.changed = threading.Condition()
        self.notes = []
        self.kept = {}

    def next_tokens(self, timeout=None):
        token = self.tokens.get()
        return [] if token is None else [token]

    def cancel(self, tasks):
        self.cancelled.append(tasks)

    def watch(self, msg_ids):
        return self.kept[msg_ids[0]]

    def close(self):
        with self.changed:
            self.closed = True
            self.changed.notify_all()
        self.tokens.put(None)


class Record:
    def __init__(self, number, items):
        self.number, self.items, self.items_done = number, items, 0
        self.status, self.parts, self.text, self.engine = PENDING, None, {1: "", 2: ""}, None
        self.reads = 0


class Tasks:
    """What results ask of `_oarlock.Tasks`."""

    def __init__(self, core, records, order):
        self.core, self.records, self.order = core, records, order

    @classmethod
    def make(cls, core, count, items=None):
        return cls(core, [Record(i, items[i] if items else None) for i in range(count)], [])

    # --- for tests
    def end(self, index, status, value=None, engine=0):
        record = self.records[index]
        with self.core.changed:
            record.status, record.engine = status, engine
            if status == ERROR:
                record.parts = [serialize.pack_error(value, {"method": "apply"})]
            elif status in (OK, PARTIAL):
                record.parts = serialize.dumps(value)
            record.items_done = record.items or 1
            self.order.append(record)
            self.core.changed.notify_all()
            for note in list(self.core.notes):
                if note[1]():
                    self.core.notes.remove(note)
                    self.core.tokens.put(note[0])

    # --- the interface
    def __len__(self):
        return len(self.records)

    def pick(self, indexes):
        return Tasks(self.core, [self.records[i] for i in indexes], self.order)

    @staticmethod
    def join(tasks):
        return Tasks(tasks[0].core, [r for t in tasks for r in t.records], tasks[0].order)

    def msg_ids(self):
        return [f"s_{r.number}" for r in self.records]

    def done_count(self):
        return sum(r.status != PENDING for r in self.records)

    def ready(self):
        return self.done_count() == len(self)

    def status(self, index):
        return self.records[index].status

    def statuses(self):
        return bytes(r.status for r in self.records)

    def has_failed(self):
        return any(r.status > OK for r in self.records)

    def items(self):
        return sum(r.items or 1 for r in self.records)

    def items_done(self):
        return sum(r.items_done for r in self.records)

    def item_counts(self):
        return [r.items or 1 for r in self.records] if any(r.items for r in self.records) else None

    def completion_order(self):
        return [self.records.index(r) for r in self.order if r in self.records]

    def _wait(self, done, timeout):
        with self.core.changed:
            self.core.changed.wait_for(lambda: done() or self.core.closed, timeout)
            if not done() and self.core.closed:
                raise ConnectionError("closed")
            return done()

    def wait(self, timeout=None):
        return self._wait(self.ready, timeout)

    def wait_task(self, index, timeout=None):
        return self._wait(lambda: self.status(index) != PENDING, timeout)

    def wait_count(self, count, timeout=None):
        return self._wait(lambda: self.done_count() >= count, timeout)

    def wait_failed(self, timeout=None):
        return self._wait(lambda: self.ready() or self.has_failed(), timeout)

    def notify(self, token, index=None, count=None):
        def due():
            if index is not None:
                return self.status(index) != PENDING
            return self.done_count() >= (len(self) if count is None else count)

        with self.core.changed:
            if due():
                self.core.tokens.put(token)
            else:
                self.core.notes.append((token, due))

    def parts(self, index):
        self.records[index].reads += 1
        return self.records[index].parts

    def release(self):
        for record in self.records:
            if record.status != PENDING:
                record.parts = None

    def loss(self, index):
        return {
            "engine": 1, "pid": 9, "host": "box", "cause": "killed by SIGKILL",
            "started": True, "ran_for": 1.0, "output": "",
        }  # fmt: skip

    def refusal(self, index):
        return self.core.reason

    def engine(self, index):
        return self.records[index].engine

    def engines(self):
        return [r.engine for r in self.records]

    def engine_session(self, index):
        return None

    def output(self, index, stream):
        return self.records[index].text[stream]

    def output_version(self):
        return sum(len(t) for r in self.records for t in r.text.values())

    def stamps(self, index):
        record = self.records[index]
        if record.status == PENDING:
            return START, START if record.engine is not None else None, None, None
        return tuple(START + timedelta(seconds=s) for s in (0, 1, 2, 3))

    def elapsed(self):
        return 3.0

    def wall_time(self):
        return 3.0

    def serial_time(self):
        return 1.0 * len(self)


class Client:
    """What results ask of `oarlock.Client`."""

    def __init__(self):
        self._core = Core()
        self._dispatch = Dispatcher(self._core)
        self.gone = None

    def _check(self):
        if self.gone is not None:
            raise self.gone
        if self._core.closed:
            raise error.ClosedClient("closed")


@pytest.fixture
def client():
    made = Client()
    yield made
    made._core.close()
    made._dispatch.join(5)


@pytest.fixture
def make(client):
    """Makes a result of `count` tasks; its tasks are at ``result._tasks``."""

    def make(count=1, kind=AsyncResult, items=None, **options):
        if kind is AsyncMapResult:
            options.setdefault("chunked", items is not None)
        elif count == 1:
            options.setdefault("single", True)
        return kind(client, Tasks.make(client._core, count, items), fname="f", **options)

    return make


def finish(result, *values):
    for index, value in enumerate(values):
        if isinstance(value, BaseException):
            result._tasks.end(index, ERROR, value, engine=index)
        else:
            result._tasks.end(index, OK, value, engine=index)
    return result


def item_error(exception):
    return error.ItemError(serialize.describe(exception, {"method": "map"}))


# --- values and errors


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
    second = AsyncResult(client, first._tasks, single=True)
    kept = Tasks.make(client._core, 1)
    kept.end(0, OK, 5)
    client._core.kept["s_0"] = kept
    assert (first.get(), second.get()) == (5, 5)
    third = AsyncResult(client, first._tasks, single=True)
    client._core.kept["s_0"] = refused = Tasks.make(client._core, 1)
    refused.end(0, REFUSED)
    with pytest.raises(error.ResultUnreadable, match="no longer kept"):
        third.get()


def test_a_hook_turns_values_into_others(make):
    assert finish(make(2, on_value=str), 1, 2).get() == ["1", "2"]


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


# --- metadata and times


def test_metadata_is_scalar_for_single_results_and_a_list_otherwise(make):
    single, many = make(label="mine"), make(2)
    assert (single.status, single["label"], many.status) == (None, "mine", [None, None])
    finish(single, 1)
    finish(many, 1, 2)
    assert (single.engine_id, many.engine_id, many["status"]) == (0, [0, 1], ["ok", "ok"])
    assert many.metadata[1].msg_id == "s_1" == many.msg_id[1]
    assert single.msg_ids == ["s_0"]
    assert many.metadata is many.metadata
    for look in (lambda: many["nothing"],):
        with pytest.raises(KeyError):
            look()
    with pytest.raises(AttributeError):
        many.nothing
    assert {"engine_id", "get"} <= set(dir(many))


def test_metadata_tells_the_error(make):
    result = finish(make(2), ValueError("a"), 1)
    assert isinstance(result.error[0], ValueError)
    assert result.error[1] is None


def test_times_are_known_at_the_end(make):
    result = make(2)
    for name in ("serial_time", "wall_time"):
        with pytest.raises(error.TimeoutError):
            getattr(result, name)
    finish(result, 1, 2)
    assert (result.serial_time, result.wall_time, result.elapsed) == (2.0, 3.0, 3.0)
    assert result.timedelta(result.submitted, result.received) == 3.0
    assert result.timedelta(START, START + timedelta(seconds=1)) == 1.0


def test_counts_and_state(make):
    result = make(2)
    assert (len(result), result.progress, result.ready(), result.done()) == (2, 0, False, False)
    assert repr(result) == "<AsyncResult(f): pending>"
    assert not result.running()
    result._tasks.records[0].engine = 1
    assert result.running()
    finish(result, 1, ValueError("a"))
    assert (result.progress, result.ready(), result.done(), result.running()) == (
        2,
        True,
        True,
        False,
    )
    assert repr(result) == "<AsyncResult(f): failed>"
    assert repr(finish(make(), 1)) == "<AsyncResult(f): finished>"
    assert result.sent
    assert result.wait_for_send()
    assert result.wait_for_output()
    assert result.owner


def test_results_do_not_pickle_and_say_so(make):
    with pytest.raises(TypeError, match="msg_ids"):
        pickle.dumps(make())


# --- futures


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


# --- showing


def test_outputs_are_grouped_by_type_and_labelled(make, capsys):
    result = make(2)
    for index, record in enumerate(result._tasks.records):
        record.text = {1: f"out{index}", 2: f"err{index}\n"}
    with pytest.raises(error.TimeoutError):
        result.display_outputs()
    finish(result, 1, 2)
    result.display_outputs()
    shown = capsys.readouterr()
    assert shown.out == "[stdout:0] \nout0\n[stdout:1] \nout1\n"
    assert shown.err == "[stderr:0] \nerr0\n[stderr:1] \nerr1\n"
    result.display_outputs("engine")
    assert capsys.readouterr().out == shown.out
    result.display_outputs(result_only=True)
    assert capsys.readouterr().out == ""
    with pytest.raises(ValueError, match="groupby"):
        result.display_outputs("size")


def test_output_of_a_single_result_has_no_label(make, capsys):
    result = make()
    result._tasks.records[0].text[1] = "hello\n"
    finish(result, 1).display_outputs()
    assert capsys.readouterr().out == "hello\n"


def test_streamed_output_is_shown_once_and_errors_after_it(make, capsys):
    result = make(2)
    tasks = result._tasks
    tasks.records[0].engine, tasks.records[0].text[1] = 0, "early\n"
    with result.stream_output():
        tasks.records[0].text[1] += "late\n"
        finish(result, 1, ValueError("bad"))
        result.wait()
    shown = capsys.readouterr()
    assert shown.out == "[stdout:0] \nearly\nlate\n"
    assert shown.err.startswith("[error:1] \n")
    assert shown.err.count("ValueError: bad") == 1


def test_a_bar_that_nobody_watches_prints_its_last_line_only(make, capsys):
    result = finish(make(2), 1, ValueError("a"))
    result.wait_interactive()
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert "f: 100%" in out
    assert "2/2 tasks" in out
    pending = make()
    pending.wait_interactive(interval=0.01, timeout=0.02)
    assert "0/1 tasks" in capsys.readouterr().out
    with pytest.raises(ValueError, match="return_when"):
        pending.wait_interactive(return_when="nonsense")
