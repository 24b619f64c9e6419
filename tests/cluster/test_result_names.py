"""Names of a result on a real cluster: times, values by engine, progress, records, futures."""

import asyncio
import multiprocessing
import os
import threading
import time

import pytest

import oarlock

from .conftest import PATIENCE

# Seconds in which something could go wrong that must not.
MOMENT = 0.06


def computed(records):
    """Seconds of computing, by the stamps of records."""
    return sum((record.completed - record.started).total_seconds() for record in records)


def until(result, holds):
    """Wait until `holds()`, while `result` runs."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        assert not result.wait(0.01)


@pytest.fixture
def held(view, gate):
    """A result of one task on each engine, which were held together for some time that is known."""
    result = view.apply_async(gate.hold, 1)
    gate.wait_begun(2)
    began = time.monotonic()
    assert not result.wait(MOMENT)
    seconds = time.monotonic() - began
    gate.release(2)
    assert result.wait(PATIENCE)
    return result, seconds


# --- times


def test_serial_time_is_the_sum_of_what_the_engines_computed(held):
    result, seconds = held
    assert result.serial_time == pytest.approx(computed(result.metadata), abs=1e-5)
    assert result.serial_time >= 2 * seconds


def test_serial_time_of_a_map_sums_over_its_chunks_and_of_one_call_is_its_own(view, lview):
    mapped = view.map_async(lambda x: sum(range(x)), [50_000] * 6)
    mapped.wait(PATIENCE)
    assert mapped.serial_time == pytest.approx(computed(mapped.metadata), abs=1e-5)
    assert mapped.serial_time > 0
    single = lview.apply_async(sum, range(50_000))
    single.wait(PATIENCE)
    assert single.serial_time == pytest.approx(computed([single.metadata]), abs=1e-5)


def test_wall_time_is_from_the_first_submission_to_the_last_arrival(held):
    result, seconds = held
    span = max(result.received) - min(result.submitted)
    assert result.wall_time == pytest.approx(span.total_seconds(), abs=1e-5)
    assert result.wall_time == pytest.approx(result.elapsed, abs=1e-5)
    assert result.wall_time >= seconds


def test_both_times_are_unknown_before_the_end_and_elapsed_is_not(lview, gate):
    result = lview.apply_async(gate.hold)
    gate.wait_begun()
    for name in ("serial_time", "wall_time"):
        with pytest.raises(TimeoutError, match=f"{name}.*before the end"):
            getattr(result, name)
    first = result.elapsed
    assert not result.wait(0.001)
    assert result.elapsed > first > 0
    gate.release()
    assert result.wait(PATIENCE)
    assert result.elapsed == result.elapsed == pytest.approx(result.wall_time, abs=1e-5)


def test_timedelta_takes_stamps_and_lists_of_stamps(held):
    result, _ = held
    assert result.timedelta(result.submitted, result.received) == pytest.approx(
        result.wall_time, abs=1e-5
    )
    one, other = result.metadata
    expected = (other.completed - one.started).total_seconds()
    assert result.timedelta(one.started, other.completed) == expected
    assert result.timedelta(other.completed, one.started) == -expected
    shortest = (min(result.completed) - max(result.started)).total_seconds()
    assert (
        result.timedelta(result.started, result.completed, start_key=max, end_key=min) == shortest
    )


# --- values by engine


def test_result_dict_has_the_values_by_engine(rc, view):
    pids = {number: rc[number].apply_sync(os.getpid) for number in rc.ids}
    result = view.apply_async(os.getpid)
    assert result.result_dict == result.get_dict() == pids
    backwards = rc[rc.ids[::-1]].apply_async(os.getpid)
    assert list(backwards.result_dict) == rc.ids[::-1]
    assert backwards.result_dict == pids
    last = rc.ids[-1]
    assert rc[last].apply_async(os.getpid).result_dict == {last: pids[last]}


def test_result_dict_waits_for_the_values(rc, view, gate):
    result = view.apply_async(gate.hold, "here")
    gate.wait_begun(2)
    release = threading.Timer(0.01, gate.release, (2,))
    release.start()
    assert result.result_dict == dict.fromkeys(rc.ids, "here")
    release.join()
    late = view.apply_async(gate.hold)
    with pytest.raises(TimeoutError):
        late.get_dict(0)
    gate.release(2)
    assert late.wait(PATIENCE)


def test_result_dict_raises_what_get_raises_and_where_one_engine_ran_two_tasks(rc, view):
    with pytest.raises(oarlock.CompositeError):
        view.apply_async(lambda: 1 / 0).result_dict
    twice = oarlock.AsyncResult.join(*(rc[0].apply_async(abs, -number) for number in (1, 2)))
    assert twice.get() == [1, 2]
    with pytest.raises(ValueError, match="several tasks ran on engine 0"):
        twice.result_dict


# --- progress


def test_progress_counts_items_inside_a_chunk_that_still_runs(rc, gate):
    hold = gate.hold
    result = rc[0].map_async(lambda x: hold(x) if x in (1, 3) else x, range(5))
    assert (len(result), len(result.msg_ids)) == (5, 1)
    gate.wait_begun()
    until(result, lambda: result.progress >= 1)
    assert result.progress == 1
    gate.release()
    gate.wait_begun()
    until(result, lambda: result.progress >= 3)
    assert result.progress == 3
    assert result.status == [None]
    gate.release()
    assert result.get(PATIENCE) == list(range(5))
    assert result.progress == 5


def test_progress_of_calls_counts_tasks(view, gate):
    result = view.apply_async(gate.hold)
    gate.wait_begun(2)
    assert (result.progress, len(result)) == (0, 2)
    gate.release()
    done, pending = result.wait(PATIENCE, return_when=oarlock.FIRST_COMPLETED)
    assert (len(done), len(pending)) == (1, 1)
    assert result.progress == 1
    gate.release()
    assert result.wait(PATIENCE)
    assert result.progress == 2


# --- as users of multiprocessing and of futures know it


def test_a_get_that_runs_out_raises_the_timeout_of_multiprocessing_and_the_task_goes_on(
    lview, gate
):
    result = lview.apply_async(gate.hold, 5)
    gate.wait_begun()
    for caught in (multiprocessing.TimeoutError, TimeoutError, oarlock.TimeoutError):
        with pytest.raises(caught, match="0 of 1 tasks are done"):
            result.get(timeout=0.01)
    assert not result.ready()
    gate.release()
    assert result.get(timeout=PATIENCE) == 5


def test_a_result_is_awaited_through_wrap_future(lview, view, gate):
    async def work():
        async with asyncio.timeout(PATIENCE):
            result = lview.apply_async(gate.hold, 5)
            future = asyncio.wrap_future(result)
            done, _ = await asyncio.wait([future], timeout=0.01)
            assert not done
            gate.release()
            assert await future == 5
            assert await asyncio.wrap_future(result) == 5, "also when it is there already"
            with pytest.raises(ZeroDivisionError) as caught:
                await asyncio.wrap_future(lview.apply_async(lambda: 1 / 0))
            assert isinstance(caught.value, oarlock.RemoteError)
            both = [asyncio.wrap_future(view.map_async(abs, [-n, n])) for n in range(3)]
            assert await asyncio.gather(*both) == [[0, 0], [1, 1], [2, 2]]

    asyncio.run(work())


def test_cancelling_a_wrapped_future_cancels_the_task(rc, gate):
    async def work():
        first, queued = rc[0].apply_async(gate.hold, 1), rc[0].apply_async(gate.hold, 2)
        future = asyncio.wrap_future(queued)
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await future
        return first, queued

    first, queued = asyncio.run(work())
    assert queued.wait(PATIENCE)
    assert queued.cancelled()
    gate.release()
    assert first.get(PATIENCE) == 1
    with pytest.raises(oarlock.TaskCancelled):
        queued.get()


# --- records


def test_engine_uuid_names_the_process_of_an_engine(rc, view, lview):
    results = [view.apply_async(abs, -1), view.apply_async(os.getpid)]
    for result in results:
        assert result.wait(PATIENCE)
    first, second = (result.engine_uuid for result in results)
    assert first == second
    assert len(set(first)) == len(first) == len(rc)
    assert all(len(uuid) == 32 and int(uuid, 16) for uuid in first)
    by_id = dict(zip(results[0].engine_id, first, strict=True))
    anywhere = lview.apply_async(abs, -1)
    assert anywhere.wait(PATIENCE)
    assert anywhere.metadata.engine_uuid == by_id[anywhere.engine_id]


def test_a_new_engine_is_told_from_the_one_before_by_its_uuid(new_client):
    rc = new_client(1)
    before = rc[:].apply_async(os.getpid)
    assert before.wait(PATIENCE)
    rc.cluster.start_engines_sync(1)
    rc.cluster.wait_for_engines_sync()
    rc.cluster.stop_engines_sync(rc.cluster.engine_set.id)
    after = rc[:].apply_async(os.getpid)
    assert after.wait(PATIENCE)
    assert before.engine_uuid != after.engine_uuid
    assert len(before.engine_uuid[0]) == 32, "it is still known of an engine that is gone"


def test_records_of_plain_code_have_no_input_and_no_result_of_a_prompt(rc, lview):
    for result in (rc[0].execute("1 + 1"), lview.apply_async(abs, -1)):
        assert result.execute_input is None
        assert result.wait(PATIENCE)
        record = result.metadata
        assert (record.execute_input, record["execute_result"]) == (None, None)
        assert {"execute_input", "execute_result"} <= set(record)
    assert rc[:].execute("1 + 1").execute_result == [None, None]


# --- results of other clients' tasks


def test_a_result_of_another_clients_task_is_a_result_like_any_other(other, rc, view, gate):
    begun = view.apply_async(gate.hold, "value")
    gate.wait_begun(2)
    result = other.get_result(begun.msg_ids)
    assert isinstance(result, oarlock.AsyncHubResult)
    assert (len(result), result.progress, result.ready()) == (2, 0, False)
    told = threading.Event()
    result.add_done_callback(lambda done: told.set())
    assert not told.is_set()
    gate.release(2)
    assert told.wait(PATIENCE), "nobody had to ask"
    assert result.ready()
    assert result.progress == 2
    assert result.get() == ["value", "value"]
    assert result.result_dict == dict.fromkeys(rc.ids, "value")
    assert [piece.get() for piece in result.split()] == [["value"], ["value"]]
    assert result.msg_ids == begun.msg_ids
    assert begun.wait(PATIENCE)
    for name in ("engine_id", "engine_uuid", "started", "completed", "status"):
        assert result[name] == begun[name]
    assert result.serial_time == pytest.approx(begun.serial_time, abs=1e-5)


def test_a_failure_of_another_clients_task_is_told_too(other, lview, gate):
    hold = gate.hold

    def fails():
        hold(None)
        print("last words")
        raise KeyError("k")

    failed = lview.apply_async(fails)
    result = other.get_result(failed.msg_ids[0])
    # Output is told from the moment the controller knows who watches; an answer says it does.
    other.queue_status()
    gate.release(1)
    with pytest.raises(KeyError):
        result.get(PATIENCE)
    assert isinstance(result.exception(), oarlock.RemoteError)
    assert result.stdout == "last words\n"
