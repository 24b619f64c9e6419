"""Several clients of one cluster, several threads of one client, and the end of a client."""

import concurrent.futures
import os
import signal
import subprocess
import sys
import threading
import time

import cloudpickle
import pytest

import oarlock
from oarlock import error

# --- other clients


def test_another_client_gets_results_by_id_pending_finished_and_failed(rc, other, gate):
    view = rc.load_balanced_view()
    held = view.apply_async(gate.hold, "value")
    gate.wait_begun()
    done, failed = view.apply_async(abs, -2), view.apply_async(lambda: 1 / 0)
    rc.wait([done, failed], timeout=20)
    pending = other.get_result(held.msg_ids[0])
    assert not pending.wait(0.05)
    assert other.get_result(done.msg_ids[0]).get(20) == 2
    assert other.get_result(done.msg_ids + done.msg_ids).get(20) == [2, 2]
    with pytest.raises(ZeroDivisionError):
        other.get_result(failed.msg_ids[0]).get(20)
    gate.release()
    assert pending.get(20) == "value"
    assert held.get(20) == "value"
    assert pending.msg_ids == held.msg_ids


def test_what_another_client_sees_of_a_task_has_its_times_and_engine(rc, other):
    result = rc[1].apply_async(abs, 1)
    result.get(20)
    seen = other.get_result(result.msg_ids[0])
    seen.get(20)
    assert seen.engine_id == 1
    assert seen.started == result.started
    assert seen.completed == result.completed
    assert seen.submitted <= seen.started <= seen.received


def test_clients_have_histories_of_their_own_and_share_engines(rc, other):
    rc[:].push({"shared": 5}, block=True)
    assert other[:]["shared"] == [5, 5]
    assert other.ids == rc.ids
    assert other.session != rc.session
    mine, theirs = rc[0].apply_async(abs, 1), other[0].apply_async(abs, 1)
    mine.get(20), theirs.get(20)
    assert theirs.msg_ids[0] not in rc.history
    assert mine.msg_ids[0] not in other.history
    everything = rc.hub_history()
    assert set(mine.msg_ids + theirs.msg_ids) <= set(everything)
    assert everything == other.hub_history()


def test_a_client_may_wait_for_anothers_task(rc, other, gate):
    held = rc.load_balanced_view().apply_async(gate.hold)
    gate.wait_begun()
    assert not other.wait(held.msg_ids, timeout=0.05)
    gate.release()
    assert other.wait(held.msg_ids, timeout=20)
    held.get(20)


def test_a_client_that_leaves_takes_nothing_from_the_others(rc, gate):
    with oarlock.Client(directory=rc.cluster.directory) as leaving:
        (msg_id,) = leaving[0].apply_async(abs, -7).msg_ids
        leaving.wait(timeout=20)
    assert rc.get_result(msg_id).get(20) == 7
    assert rc[:].apply_sync(abs, -1) == [1, 1]


def test_connection_info_is_a_directory_a_file_in_it_or_a_dict(rc, tmp_path):
    directory = rc.cluster.directory
    for info in (directory, {"directory": directory}):
        with oarlock.Client(info) as client:
            assert client.ids == [0, 1]
    with pytest.raises(FileNotFoundError, match="oarlock start"):
        oarlock.Client(tmp_path / "missing")
    with pytest.raises(FileNotFoundError, match="oarlock start"):
        oarlock.Client(cluster_id="nobody-started-this")
    with pytest.raises(FileNotFoundError, match="oarlock start"):
        oarlock.Client(tmp_path)
    with pytest.raises(ValueError, match="URL"):
        oarlock.Client("tcp://127.0.0.1:1")
    with pytest.raises(ValueError, match="directory"):
        oarlock.Client({"url": "x"})


# --- what a client leaves behind


def leave(directory, lease, gate_hold):
    """Submit three tasks as a client that is killed: msg_ids of the held one and the others."""
    source = f"""
import os, signal, sys
import cloudpickle, oarlock
hold = cloudpickle.loads({cloudpickle.dumps(gate_hold)!r})
client = oarlock.Client(directory={directory!r}, lease={lease!r})
view = client.load_balanced_view(targets=0)
ids = [view.apply_async(hold, item).msg_ids[0] for item in range(3)]
client.queue_status()  # answered after they came
print(*ids, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    return done.stdout.split()


def test_the_tasks_of_a_killed_client_go_on_and_others_get_their_values(rc, other, gate):
    ids = leave(rc.cluster.directory, 600.0, gate.hold)
    gate.wait_begun()
    gate.release(3)
    assert other.get_result(ids).get(20) == [0, 1, 2]
    gate.wait_begun(2)


def test_without_a_lease_the_tasks_of_a_killed_client_end(rc, other, gate):
    ids = leave(rc.cluster.directory, 0, gate.hold)
    deadline = time.monotonic() + 20
    while rc.queue_status()[0]["tasks"] or rc.queue_status()["unassigned"]:
        assert time.monotonic() < deadline
    result = other.get_result(ids)
    assert result.wait(20)
    assert result.cancelled()
    assert rc[:].apply_sync(abs, -1) == [1, 1], "the engines are free"


def test_a_lease_is_a_time(rc):
    with pytest.raises(ValueError, match="lease"):
        oarlock.Client(directory=rc.cluster.directory, lease=-1)


def test_nothing_more_is_begun_for_a_client_that_is_stopped_until_it_goes_on(rc, other, gate):
    # Nothing of its work is begun before it is stopped.
    held = [other[engine].apply_async(gate.hold) for engine in (0, 1)]
    gate.wait_begun(2)
    source = f"""
import oarlock
client = oarlock.Client(directory={rc.cluster.directory!r})
result = client.load_balanced_view().map_async(bytes, [1 << 19] * 1000)
print("submitted", flush=True)
assert sum(map(len, result)) == 1000 << 19
print("whole", flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "submitted\n"
        process.send_signal(signal.SIGSTOP)
        gate.release(2)
        assert [task.get(20) for task in held] == [None, None]
        deadline = time.monotonic() + 20
        while True:
            status = other.queue_status()
            if status["unassigned"] and not any(status[engine]["tasks"] for engine in (0, 1)):
                break
            assert time.monotonic() < deadline, status
        assert status["unassigned"] > 500, "what waits for it is bounded"
        assert other.load_balanced_view().map_sync(abs, [-1, -2]) == [1, 2], "others are served"
        process.send_signal(signal.SIGCONT)
        # Half a gigabyte, on a machine that may be busy.
        assert process.communicate(timeout=45)[0] == "whole\n"
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


# --- threads


def test_eight_threads_use_one_client_at_once(rc):
    barrier = threading.Barrier(8)

    def work(number):
        view, balanced = rc[:], rc.load_balanced_view()
        barrier.wait(20)
        for i in range(10):
            assert balanced.map_sync(lambda x: x + number, range(20)) == [
                x + number for x in range(20)
            ]
            view.push({f"n{number}": i}, block=True)
            assert view[f"n{number}"] == [i, i]
            assert balanced.apply_async(abs, -i).get(20) == i
        assert len(set(balanced.history)) == 10 * 21
        assert len(view.history) == 10 * 4
        return balanced.history[:] + view.history[:]

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        ids = [msg_id for ids in threads.map(work, range(8)) for msg_id in ids]
    assert len(set(ids)) == len(ids), "no two threads were given one id"


def test_threads_may_share_a_view_and_a_result(rc, lview, gate):
    result = lview.apply_async(gate.hold, "value")
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        waiting = [threads.submit(result.get, 20) for _ in range(8)]
        gate.release()
        assert [one.result(20) for one in waiting] == ["value"] * 8
        shared = threads.map(lambda i: lview.apply_sync(abs, -i), range(100))
        assert list(shared) == list(range(100))
    assert len(set(lview.history)) == len(lview.history) == 101


# --- life


def test_a_closed_client_says_so_and_its_results_do_not_hang(rc, gate):
    client = oarlock.Client(directory=rc.cluster.directory)
    view = client.load_balanced_view()
    held = view.apply_async(gate.hold)
    gate.wait_begun()
    client.close()
    client.close()
    for use in (
        lambda: view.apply_async(abs, 1),
        lambda: view.map_async(abs, [1]),
        lambda: client[:],
        client.load_balanced_view,
        client.queue_status,
        client.wait,
    ):
        with pytest.raises(oarlock.ClosedClient, match="closed") as caught:
            use()
        assert isinstance(caught.value, RuntimeError)
    with pytest.raises(oarlock.ClosedClient):
        held.get(20)
    assert "closed" in repr(client)
    gate.release()
    assert rc.load_balanced_view().apply_sync(os.getpid)


def test_a_client_is_closed_at_the_end_of_its_block(rc):
    with pytest.raises(KeyError), oarlock.Client(directory=rc.cluster.directory) as client:
        raise KeyError
    with pytest.raises(error.ClosedClient):
        client[:]
    assert rc.ids == [0, 1]
