"""A forked child cannot use the client of its parent and learns so at once; the parent goes on."""

import asyncio
import concurrent.futures
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import traceback

import pytest

import oarlock

DEADLINE = 20


def in_child(call, timeout=DEADLINE):
    """What `call` did in a forked child: ``[name of the exception or None, text]``."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            try:
                outcome = [None, repr(call())]
            except BaseException as raised:
                outcome = [type(raised).__name__, "".join(traceback.format_exception(raised))]
            os.write(writer, json.dumps(outcome).encode()[:60_000])
        finally:
            os._exit(0)
    os.close(writer)
    # A child that hangs is ended, which ends the reading.
    watch = threading.Timer(timeout, os.kill, (pid, signal.SIGKILL))
    watch.start()
    with open(reader, "rb") as pipe:
        text = pipe.read()
    _, status = os.waitpid(pid, 0)
    watch.cancel()
    assert status == 0, "the child hung"
    return json.loads(text)


def square(x):
    return x * x


def wait_for(path, value=None):
    import os
    import time

    while not os.path.exists(path):
        time.sleep(0.01)
    return value


@pytest.fixture
def gate(tmp_path):
    """A file that tasks wait for, and that exists after the test in any case."""
    path = tmp_path / "gate"
    yield path
    path.touch()


async def awaited(result):
    return await result


def awaiting(result):
    import asyncio

    return asyncio.run(awaited(result))


USES = {
    "rc[:]": lambda rc, view, lview, result: rc[:],
    "load_balanced_view": lambda rc, view, lview, result: rc.load_balanced_view(),
    "apply_async": lambda rc, view, lview, result: lview.apply_async(square, 2),
    "apply_sync": lambda rc, view, lview, result: lview.apply_sync(square, 2),
    "map_sync": lambda rc, view, lview, result: lview.map_sync(square, range(3)),
    "imap": lambda rc, view, lview, result: list(lview.imap(square, range(3))),
    "executor": lambda rc, view, lview, result: lview.executor.submit(square, 2).result(),
    "direct apply_async": lambda rc, view, lview, result: view.apply_async(square, 2),
    "direct map_sync": lambda rc, view, lview, result: view.map_sync(square, range(3)),
    "push": lambda rc, view, lview, result: view.push({"a": 1}),
    "pull": lambda rc, view, lview, result: view["a"],
    "execute": lambda rc, view, lview, result: view.execute("1", block=True),
    "get": lambda rc, view, lview, result: result.get(),
    "get now": lambda rc, view, lview, result: result.get(0),
    "wait": lambda rc, view, lview, result: result.wait(),
    "ready": lambda rc, view, lview, result: result.ready(),
    "result": lambda rc, view, lview, result: result.result(),
    "exception": lambda rc, view, lview, result: result.exception(),
    "done": lambda rc, view, lview, result: result.done(),
    "cancel": lambda rc, view, lview, result: result.cancel(),
    "add_done_callback": lambda rc, view, lview, result: result.add_done_callback(print),
    "metadata": lambda rc, view, lview, result: result.metadata[0]["started"],
    "progress": lambda rc, view, lview, result: result.progress,
    "stdout": lambda rc, view, lview, result: result.stdout,
    "elapsed": lambda rc, view, lview, result: result.elapsed,
    "iteration": lambda rc, view, lview, result: list(result),
    "wait_interactive": lambda rc, view, lview, result: result.wait_interactive(),
    "await": lambda rc, view, lview, result: awaiting(result),
    "concurrent.futures.wait": lambda rc, view, lview, result: concurrent.futures.wait([result]),
    "rc.wait": lambda rc, view, lview, result: rc.wait(),
    "rc.wait for it": lambda rc, view, lview, result: rc.wait(result),
    "rc.wait_for_engines": lambda rc, view, lview, result: rc.wait_for_engines(1),
    "rc.get_result": lambda rc, view, lview, result: rc.get_result(result.msg_ids),
    "rc.queue_status": lambda rc, view, lview, result: rc.queue_status(),
    "rc.purge_everything": lambda rc, view, lview, result: rc.purge_everything(),
    "rc.abort": lambda rc, view, lview, result: rc.abort(),
    "rc.shutdown": lambda rc, view, lview, result: rc.shutdown(block=True),
    "rc.send_signal": lambda rc, view, lview, result: rc.send_signal(signal.SIGINT),
    "rc.clear": lambda rc, view, lview, result: rc.clear(block=True),
    "rc.outstanding": lambda rc, view, lview, result: rc.outstanding,
    "rc.ids": lambda rc, view, lview, result: rc.ids,
}


@pytest.mark.parametrize("name", USES)
def test_every_use_in_the_child_raises_at_once_and_the_parent_goes_on(rc, lview, gate, name):
    view = rc[:]
    result = lview.map_async(wait_for, [str(gate)] * 2, [1, 2])
    kind, text = in_child(lambda: USES[name](rc, view, lview, result))
    assert kind == "ForkedClient", text
    assert "hint:" in text
    assert "new" in text
    assert not result.ready()
    gate.touch()
    assert result.get(DEADLINE) == [1, 2]
    assert view.apply_sync(square, 2) == [4] * len(rc)


def test_values_that_were_there_before_the_fork_can_be_read_in_the_child(lview):
    result = lview.map_async(square, range(3))
    assert result.get() == [0, 1, 4]
    kind, text = in_child(result.get)
    assert (kind, text) in [(None, "[0, 1, 4]"), ("ForkedClient", text)]


def test_the_child_may_close_and_drop_the_client_without_harm(rc, lview, gate):
    result = lview.apply_async(wait_for, str(gate), 7)

    def close():
        rc.close()
        rc.cluster.stop_cluster_sync()
        return repr(rc)

    kind, text = in_child(close)
    assert kind in (None, "ForkedClient"), text
    gate.touch()
    assert result.get(DEADLINE) == 7


def test_the_child_may_start_a_cluster_of_its_own(rc, leaks):
    def own():
        with oarlock.Cluster(n=1) as mine:
            return mine[:].map_sync(square, range(4))

    assert in_child(own) == [None, "[0, 1, 4, 9]"]
    assert rc[:].apply_sync(square, 3) == [9] * len(rc)


def test_the_child_may_connect_to_the_cluster_of_its_parent(rc):
    directory = rc.cluster.directory

    def connect():
        with oarlock.Client(directory=directory) as mine:
            return mine[:].apply_sync(square, 5)

    assert in_child(connect) == [None, repr([25] * len(rc))]
    assert rc[:].apply_sync(square, 3) == [9] * len(rc)


def test_a_fork_while_threads_wait_and_submit_hangs_nobody(rc, lview, gate):
    waiting = lview.apply_async(wait_for, str(gate), 1)
    stop = threading.Event()

    def submit():
        while not stop.is_set():
            lview.map_sync(abs, range(100))

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        threads = [pool.submit(waiting.get), pool.submit(submit), pool.submit(submit)]
        try:
            for _ in range(20):
                kind, text = in_child(lambda: lview.apply_async(abs, 1))
                assert kind == "ForkedClient", text
                kind, text = in_child(waiting.get)
                assert kind == "ForkedClient", text
        finally:
            stop.set()
            gate.touch()
        assert [thread.result(DEADLINE) for thread in threads] == [1, None, None]


def test_a_multiprocessing_pool_of_forks_works_beside_a_live_client(rc, lview):
    result = lview.map_async(square, range(100))
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(square, range(100)) == [x * x for x in range(100)]
        assert lview.map_sync(square, range(100)) == [x * x for x in range(100)]
    assert result.get(DEADLINE) == [x * x for x in range(100)]


def test_a_process_pool_executor_of_forks_works_beside_a_live_client(rc, lview):
    fork = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=fork) as pool:
        ours = lview.map_async(square, range(50))
        assert list(pool.map(square, range(50))) == [x * x for x in range(50)]
        assert list(ours) == [x * x for x in range(50)]


def use(rc):
    rc.ids
    return rc.load_balanced_view()


def test_a_multiprocessing_process_that_uses_the_client_fails_as_a_process_does(rc, capfd):
    process = multiprocessing.get_context("fork").Process(target=use, args=(rc,))
    process.start()
    process.join(DEADLINE)
    assert process.exitcode == 1
    assert "ForkedClient" in capfd.readouterr().err


def test_a_task_may_fork_on_its_engine(rc):
    def fork():
        import os

        pid = os.fork()
        if pid == 0:
            os._exit(4)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def pool():
        import multiprocessing

        with multiprocessing.get_context("fork").Pool(2) as pool:
            return pool.map(abs, [-1, -2])

    assert rc[:].apply_sync(fork) == [4] * len(rc)
    assert rc[:].apply_sync(pool) == [[1, 2]] * len(rc)


def run(script):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )


def test_a_child_that_leaves_by_the_ordinary_way_is_quiet_and_takes_nothing_along(leaks):
    done = run("""
        import os, sys, time
        import oarlock

        with oarlock.Cluster(n=1) as rc:
            lview = rc.load_balanced_view()
            pending = lview.apply_async(time.sleep, 0.3)
            pending.add_done_callback(lambda result: None)
            pid = os.fork()
            if pid == 0:
                try:
                    pending.get()
                except oarlock.ForkedClient:
                    sys.exit(0)  # through all exit handlers and finalizers, and the with block
                sys.exit(1)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            pending.get()
            assert lview.map_sync(abs, [-1, -2]) == [1, 2]
            assert os.path.isdir(rc.cluster.directory)
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    leaks.check()


def test_a_child_that_outlives_its_parent_keeps_nothing_of_the_cluster(leaks):
    """The sockets it inherited must not keep engines believing that their client lives."""
    reader, writer = os.pipe()
    script = """
        import os, signal, sys, time
        import oarlock

        rc = oarlock.Cluster(n=1).start_and_connect_sync()
        rc[:].apply_sync(abs, 1)
        pid = os.fork()
        if pid == 0:
            os.read(%d, 1)
            os._exit(0)
        print(pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script % reader)],
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=[reader],
    ) as process:
        child = int(process.stdout.readline())
        assert process.wait(DEADLINE) == -signal.SIGKILL
    try:
        os.kill(child, 0)
        leaks.check()
    finally:
        os.write(writer, b"x")
        os.close(reader)
        os.close(writer)


def test_a_named_cluster_ends_with_its_process_also_when_a_child_lives_on(leaks):
    done = run("""
        import os
        import oarlock

        with oarlock.Cluster(n=1, cluster_id="forks") as rc:
            directory = rc.cluster.directory
            reader, writer = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(writer)
                os.read(reader, 1)
                os._exit(0)
        assert not os.path.exists(directory)
        with oarlock.Cluster(n=1, cluster_id="forks") as rc:
            assert rc[:].apply_sync(abs, -1) == [1]
        os.close(writer)
        assert os.waitpid(pid, 0)[1] == 0
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    leaks.check()


def test_the_child_may_use_asyncio_and_a_cluster_as_its_parent_did(leaks):
    async def main():
        async with oarlock.Cluster(n=1) as rc:
            return await rc[:].apply_async(abs, -1)

    assert asyncio.run(main()) == [1]
    assert in_child(lambda: asyncio.run(main())) == [None, "[1]"]
    assert asyncio.run(main()) == [1]
    leaks.check()


@pytest.mark.parametrize("end", ["return", "raise"])
def test_a_child_that_comes_out_of_a_task_ends_there(new_client, wait_exit, end):
    def fork(end):
        import os

        pid = os.fork()
        if pid == 0 and end == "raise":
            raise ValueError
        return pid

    rc = new_client(1)
    child = rc[0].apply_async(fork, end).get(DEADLINE)
    assert child > 0
    assert wait_exit(child, DEADLINE)
    assert rc[0].apply_async(abs, -1).get(DEADLINE) == 1
    assert rc.ids == [0]
