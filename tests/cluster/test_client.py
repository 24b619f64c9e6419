"""The client on real engines: its engines, its books, and results asked for again."""

import concurrent.futures
import threading
import time

import pytest

import oarlock

UNKNOWN = f"{'0' * 32}_5"


# --- engines


def test_a_client_knows_its_engines(rc):
    assert rc.ids == [0, 1]
    assert rc.ids is not rc.ids
    assert len(rc) == 2
    assert 1 in rc
    assert 2 not in rc
    assert [view.targets for view in rc] == [0, 1]
    assert "2 engines" in repr(rc)
    assert rc


def test_an_int_a_slice_and_a_list_choose_engines(rc):
    assert rc[0].targets == 0
    assert rc[-1].targets == 1
    assert rc[:].targets == [0, 1]
    assert rc[::-1].targets == [1, 0]
    assert rc[-1:].targets == [1]
    assert rc[[1]].targets == [1]
    assert rc[(1, 0)].targets == [1, 0]
    assert rc[range(2)].targets == [0, 1]
    assert rc[7:].targets == rc[()].targets == []


def test_a_numpy_integer_is_an_int(rc):
    numpy = pytest.importorskip("numpy")
    assert rc[numpy.int64(1)].targets == 1
    assert rc[list(numpy.arange(2))].targets == [0, 1]


def test_what_chooses_no_engine_is_an_error_of_the_right_kind(rc):
    for key in (5, -3):
        with pytest.raises(IndexError, match=r"there are \[0, 1\]"):
            rc[key]
    for keys in ([0, 5], [-1]):
        with pytest.raises(KeyError, match=r"there are \[0, 1\]"):
            rc[keys]
    for key in (None, "0", {0}, 1.5, True):
        with pytest.raises(TypeError, match="an int, a slice or a list"):
            rc[key]
    with pytest.raises(TypeError):
        rc.direct_view("some")


def test_an_empty_cluster_has_no_views_by_index(new_client):
    rc = new_client(0)
    assert rc
    assert (rc.ids, len(rc), list(rc), rc.queue_status()) == ([], 0, [], {"unassigned": 0})
    for key in (0, slice(None), [0]):
        with pytest.raises(oarlock.NoEnginesRegistered):
            rc[key]


def test_wait_for_engines_waits_for_those_that_are_to_come(new_client):
    rc = new_client(1)
    assert rc.wait_for_engines() is None
    rc.cluster.start_engines_sync(1)
    assert rc.wait_for_engines(2, timeout=30) is None
    assert rc.ids == [0, 1]
    assert rc.wait_for_engines(2, block=False).result(20) is None
    with pytest.raises(TimeoutError, match="2"):
        rc.wait_for_engines(3, timeout=0)
    with pytest.raises(oarlock.TimeoutError):
        rc.wait_for_engines(3, timeout=0, block=False).result(20)


def test_a_client_without_a_cluster_must_say_how_many_engines(other):
    with pytest.raises(TypeError):
        other.wait_for_engines()
    assert other.wait_for_engines(2, timeout=20) is None


# --- books


def test_the_history_has_every_task_in_order(rc, view, lview):
    start = len(rc.history)
    ids = view.apply_async(abs, 1).msg_ids
    ids += lview.map_async(abs, [1, 2]).msg_ids
    ids += view.map_async(abs, [1, 2, 3]).msg_ids
    assert rc.history[start:] == ids
    assert len(set(rc.history)) == len(rc.history)
    assert rc.history[-1] == ids[-1]
    assert ids[0] in rc.history
    assert UNKNOWN not in rc.history
    with pytest.raises(IndexError):
        rc.history[10**9]


def test_to_look_at_results_adds_nothing_to_the_history(rc, other):
    theirs = other[:].apply_async(abs, -1)
    theirs.get(20)
    mine = rc[0].apply_async(abs, -2)
    mine.get(20)
    before = list(rc.history)
    rc.get_result(theirs.msg_ids).get(20)
    rc.get_result(UNKNOWN).wait(20)
    rc.wait(theirs.msg_ids, timeout=20)
    assert rc.history == before
    assert rc.get_result(-1).msg_ids == mine.msg_ids


def test_outstanding_is_what_has_not_finished(rc, lview, gate):
    held = lview.apply_async(gate.hold)
    done = lview.apply_async(abs, 1)
    done.wait(20)
    assert rc.outstanding == set(held.msg_ids)
    gate.release()
    held.wait(20)
    assert rc.outstanding == set()


def test_metadata_is_live_by_msg_id(rc, gate):
    held = rc[1].apply_async(gate.hold)
    (msg_id,) = held.msg_ids
    gate.wait_begun()
    metadata = rc.metadata[msg_id]
    assert metadata.msg_id == metadata["msg_id"] == msg_id
    assert metadata.submitted.tzinfo is not None
    assert metadata.completed is None
    assert metadata.status is None
    gate.release()
    held.get(20)
    metadata = rc.metadata[msg_id]
    assert (metadata.status, metadata.engine_id) == ("ok", 1)
    assert metadata.submitted <= metadata.started <= metadata.completed <= metadata.received
    assert msg_id in rc.metadata
    assert msg_id in list(rc.metadata)
    for unknown in (UNKNOWN, "x"):
        with pytest.raises(KeyError):
            rc.metadata[unknown]


def test_results_holds_what_nobody_has_claimed(rc, lview):
    result = lview.apply_async(abs, -3)
    failing = lview.apply_async(lambda: 1 / 0)
    rc.wait([result, failing], timeout=20)
    assert rc.results[result.msg_ids[0]] == 3
    assert isinstance(rc.results[failing.msg_ids[0]], ZeroDivisionError)
    assert result.msg_ids[0] in rc.results
    assert result.get() == 3
    assert result.msg_ids[0] not in rc.results
    assert result.get() == 3, "the result itself keeps its value"
    with pytest.raises(KeyError, match="claimed"):
        rc.results[result.msg_ids[0]]


def test_results_of_unfinished_tasks_are_not_there(rc, lview, gate):
    held = lview.apply_async(gate.hold)
    with pytest.raises(KeyError, match="not finished"):
        rc.results[held.msg_ids[0]]
    gate.release()
    held.get(20)


def test_received_is_right_although_the_caller_was_busy(rc, lview, gate):
    result = lview.apply_async(abs, 1)
    rc.load_balanced_view().apply_sync(abs, 1)
    busy_until = time.monotonic() + 1
    while time.monotonic() < busy_until:  # the caller computes and looks at nothing
        pass
    assert result.ready()
    assert result.wall_time < 0.5


def test_spin_changes_nothing(rc):
    assert (rc.spin(), rc.spin_thread(0.1), rc.stop_spin_thread()) == (None, None, None)


# --- waiting


def test_wait_takes_all_that_names_a_task(rc, lview):
    results = [lview.apply_async(abs, -i) for i in range(3)]
    future = concurrent.futures.Future()
    future.set_result(None)
    for jobs in (None, -1, results[0], results[0].msg_ids[0], results, [-1, results[1], future]):
        assert rc.wait(jobs, timeout=20)
    assert rc.wait(UNKNOWN, timeout=20), "what nobody knows counts as done"
    for jobs in (1.5, b"x", {"a": 1}, [None]):
        with pytest.raises(TypeError):
            rc.wait(jobs)
    with pytest.raises(ValueError, match="no msg_id"):
        rc.wait("abc")


def test_wait_says_whether_and_raises_no_task_error(rc, lview, gate):
    held = lview.apply_async(gate.hold)
    failing = lview.apply_async(lambda: 1 / 0)
    assert rc.wait(failing, timeout=20)
    assert not rc.wait(timeout=0)
    assert not rc.wait([failing, held], timeout=0.01)
    assert not rc.wait(concurrent.futures.Future(), timeout=0)
    threading.Timer(0.05, gate.release).start()
    assert rc.wait()


def test_wait_interactive_returns_when_all_is_done(rc, lview, capsys):
    result = lview.map_async(abs, range(10))
    assert rc.wait_interactive(result, timeout=20) is None
    assert result.ready()
    assert rc.wait_interactive(timeout=20) is None


# --- get_result


def test_a_pending_result_can_be_had_again(rc, lview, gate):
    held = lview.apply_async(gate.hold, "value")
    (msg_id,) = held.msg_ids
    again = [rc.get_result(job) for job in (None, -1, msg_id, held, [msg_id], [held])]
    assert not any(result.ready() for result in again)
    gate.release()
    assert [result.get(20) for result in again] == ["value"] * 4 + [["value"]] * 2


def test_a_finished_result_can_be_had_again_also_when_it_was_claimed(rc, lview):
    (msg_id,) = lview.apply_async(abs, -3).msg_ids
    assert rc.wait(timeout=20)
    assert rc.get_result(msg_id).get(20) == 3
    claimed = lview.apply_async(abs, -4)
    assert claimed.get(20) == 4
    assert rc.get_result(claimed.msg_ids[0]).get(20) == 4
    assert rc.get_result([msg_id, claimed.msg_ids[0]]).get(20) == [3, 4]
    ids = claimed.msg_ids
    del claimed
    assert rc.get_result(ids[0]).get(20) == 4


def test_a_failed_result_raises_again(rc, lview):
    result = lview.apply_async(lambda: 1 / 0)
    result.wait(20)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            rc.get_result(result.msg_ids[0]).get(20)


def test_get_result_waits_when_told_to(rc, lview):
    result = lview.map_async(abs, [-1, -2])
    assert rc.get_result(result.msg_ids, block=True).ready()
    rc.block = True
    again = rc.get_result(lview.map_async(abs, [-3]).msg_ids)
    assert again.ready()
    assert again.get() == [3]


def test_get_result_refuses_what_names_no_task(rc, lview):
    lview.apply_sync(abs, 1)
    for jobs in (1.5, b"x", {"a": 1}, [None]):
        with pytest.raises(TypeError):
            rc.get_result(jobs)
    with pytest.raises(ValueError, match="no msg_id"):
        rc.get_result("abc")
    with pytest.raises(IndexError):
        rc.get_result(10**9)


def test_a_task_nobody_knows_gives_a_result_that_says_so(rc):
    result = rc.get_result(UNKNOWN)
    with pytest.raises(oarlock.UnknownTask, match="no such task") as caught:
        result.get(20)
    assert isinstance(caught.value, KeyError)


def test_result_status_sorts_tasks_and_fetches_on_request(rc, lview, gate):
    held = lview.apply_async(gate.hold)
    done = lview.apply_async(abs, -1)
    done.wait(20)
    ids = held.msg_ids + done.msg_ids
    assert rc.result_status(ids) == {
        "status": "ok",
        "pending": held.msg_ids,
        "completed": done.msg_ids,
    }
    assert rc.result_status(done, status_only=False)[done.msg_ids[0]] == 1
    gate.release()
    held.wait(20)
    failed = lview.apply_async(lambda: 1 / 0)
    failed.wait(20)
    assert rc.result_status(failed)["completed"] == failed.msg_ids
    with pytest.raises(ZeroDivisionError):
        rc.result_status(failed, status_only=False)
    with pytest.raises(KeyError):
        rc.result_status(UNKNOWN)
