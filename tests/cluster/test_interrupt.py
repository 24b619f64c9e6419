"""Ctrl-C ends the wait, not the work."""

import asyncio
import concurrent.futures
import contextlib
import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import textwrap
import threading
import time

import pytest

import oarlock

DEADLINE = 20

# 0.1 s is promised; a call that does not heed the signal would go on for DEADLINE and more.
PROMPT = 1.0


def wait_for(path, value=None):
    """Run until the test makes the file `path`."""
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


@pytest.fixture(autouse=True)
def _interruptible():
    """SIGINT raises here, whatever runs the tests; one that came too late ends with its test."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class CtrlC:
    """Sends SIGINT as soon as the main thread blocks."""

    def __init__(self):
        self.sent = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _run(self):
        seen, times = None, 0
        while times < 5:
            if self._over.wait(0.01):
                return
            frame = sys._current_frames()[threading.main_thread().ident]
            now = (id(frame), frame.f_lasti)
            seen, times = now, times + 1 if now == seen else 0
        self.sent = time.monotonic()
        os.kill(os.getpid(), signal.SIGINT)


def interrupted(call):
    """Interrupt `call` while it blocks; it must end at once with a KeyboardInterrupt."""
    with CtrlC() as key, pytest.raises(KeyboardInterrupt) as caught:
        call()
    assert time.monotonic() - key.sent < PROMPT
    return caught.value


async def awaited(result):
    return await result


async def gone_through(result):
    return [item async for item in result]


WAITS = {
    "get": lambda result, rc: result.get(),
    "get with a timeout": lambda result, rc: result.get(DEADLINE),
    "get until the first exception": lambda result, rc: result.get(
        return_when=oarlock.FIRST_EXCEPTION
    ),
    "result": lambda result, rc: result.result(),
    "exception": lambda result, rc: result.exception(),
    "r": lambda result, rc: result.r,
    "get_dict": lambda result, rc: result.get_dict(),
    "wait": lambda result, rc: result.wait(),
    "wait for the first": lambda result, rc: result.wait(return_when=oarlock.FIRST_COMPLETED),
    "wait_for_output": lambda result, rc: result.wait_for_output(),
    "wait_interactive": lambda result, rc: result.wait_interactive(),
    "wait_interactive with a long interval": lambda result, rc: result.wait_interactive(60),
    "stream_output": lambda result, rc: stream(result),
    "iteration": lambda result, rc: list(result),
    "a piece": lambda result, rc: result.split()[0].get(),
    "client.wait": lambda result, rc: rc.wait(),
    "client.wait for a result": lambda result, rc: rc.wait(result),
    "client.wait for ids": lambda result, rc: rc.wait(result.msg_ids, DEADLINE),
    "client.wait for a future": lambda result, rc: rc.wait([result, concurrent.futures.Future()]),
    "client.wait_interactive": lambda result, rc: rc.wait_interactive(),
    "client.get_result": lambda result, rc: rc.get_result(result.msg_ids, block=True),
    "view.wait": lambda result, rc: rc[:].wait(result),
    "concurrent.futures.wait": lambda result, rc: concurrent.futures.wait([result]),
    "concurrent.futures.as_completed": lambda result, rc: list(
        concurrent.futures.as_completed([result])
    ),
    "await": lambda result, rc: asyncio.run(awaited(result)),
    "async for": lambda result, rc: asyncio.run(gone_through(result)),
}


def stream(result):
    with result.stream_output():
        result.wait()


@pytest.mark.parametrize("name", WAITS)
def test_a_wait_is_left_and_the_work_goes_on(rc, lview, gate, name):
    result = lview.map_async(wait_for, [str(gate)] * 2, [1, 2])
    interrupted(lambda: WAITS[name](result, rc))
    assert not result.ready()
    gate.touch()
    assert result.get(DEADLINE) == [1, 2]


CALLS = {
    "apply_sync": lambda rc, path: rc.load_balanced_view().apply_sync(wait_for, path),
    "direct apply_sync": lambda rc, path: rc[:].apply_sync(wait_for, path),
    "map_sync": lambda rc, path: rc.load_balanced_view().map_sync(wait_for, [path] * 3),
    "direct map_sync": lambda rc, path: rc[:].map_sync(wait_for, [path] * 3),
    "imap": lambda rc, path: list(rc.load_balanced_view().imap(wait_for, [path] * 3)),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_blocking_call_is_left_and_its_tasks_go_on(rc, gate, name):
    before = len(rc.history)
    interrupted(lambda: CALLS[name](rc, str(gate)))
    ids = list(rc.history[before:])
    assert ids
    gate.touch()
    result = rc.get_result(ids)
    assert result.wait(DEADLINE)
    assert result.successful()


def test_a_map_of_an_executor_is_left_and_cancelled_as_those_of_others_are(rc, gate):
    before = len(rc.history)
    interrupted(lambda: list(rc.executor().map(wait_for, [str(gate)] * 3)))
    result = rc.get_result(list(rc.history[before:]))
    assert result.wait(DEADLINE)
    assert result.cancelled()


def test_an_interrupted_call_says_what_runs_on(rc, gate):
    before = len(rc.history)
    interrupt = interrupted(lambda: rc.load_balanced_view().apply_sync(wait_for, str(gate)))
    (msg_id,) = rc.history[before:]
    assert any(msg_id in note for note in interrupt.__notes__)
    # The cluster of this test ends with this program, and the work with it.
    assert any("goes on until the cluster is stopped" in note for note in interrupt.__notes__)


def test_a_blocked_push_and_pull_are_left_and_the_next_ones_work(rc, gate):
    running = rc[:].apply_async(wait_for, str(gate))
    interrupted(lambda: rc[:].push({"a": 1}, block=True))
    interrupted(lambda: rc[:].pull("a", block=True))
    interrupted(lambda: rc[:]["a"])
    interrupted(lambda: rc[:].execute("a = a + 1", block=True))
    gate.touch()
    assert running.get(DEADLINE) == [None] * len(rc)
    assert rc[:].pull("a", block=True) == [2] * len(rc)


def test_waiting_for_engines_is_left(rc):
    interrupted(lambda: rc.wait_for_engines(len(rc) + 1))
    interrupted(lambda: rc.wait_for_engines(len(rc) + 1, interactive=True))


def test_waiting_without_any_engine_is_left(new_client):
    rc = new_client(0)
    result = rc.load_balanced_view().apply_async(abs, -1)
    interrupted(result.get)
    rc.cluster.start_engines_sync(1)
    assert result.get(DEADLINE) == 1


def test_reading_endless_input_is_left_and_what_was_sent_is_told(rc, lview):
    def numbers():
        yield from range(50_000)
        os.kill(os.getpid(), signal.SIGINT)
        while True:
            yield 0

    before = len(rc.history)
    with pytest.raises(KeyboardInterrupt) as caught:
        lview.map_async(abs, numbers())
    sent = list(rc.history[before:])
    assert sent
    assert any(sent[0] in note for note in caught.value.__notes__)
    assert rc.get_result(sent[0]).get(DEADLINE) == 0


def test_a_second_thread_that_waits_is_not_disturbed(lview, gate):
    result = lview.apply_async(wait_for, str(gate), 5)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        other = pool.submit(result.get)
        interrupted(result.get)
        assert not other.done()
        gate.touch()
        assert other.result(DEADLINE) == 5


def test_a_handler_that_raises_something_else_is_heeded(lview, gate):
    class MyError(Exception):
        pass

    def handler(number, frame):
        raise MyError

    signal.signal(signal.SIGINT, handler)
    result = lview.apply_async(wait_for, str(gate))
    with CtrlC(), pytest.raises(MyError):
        result.get()


def test_a_handler_that_returns_leaves_the_wait_going(lview, gate):
    seen = []

    def handler(number, frame):
        seen.append(number)
        gate.touch()

    signal.signal(signal.SIGINT, handler)
    result = lview.apply_async(wait_for, str(gate), 3)
    with CtrlC():
        assert result.get(DEADLINE) == 3
    assert seen == [signal.SIGINT]


def test_starting_a_cluster_is_left_and_nothing_stays(leaks):
    # Engines that never join, so that the start blocks.
    cluster = oarlock.Cluster(n=1, env={"PYTHONSTARTUP": "", "PYTHONHOME": "/dev/null"})
    with contextlib.suppress(oarlock.EngineError):
        interrupted(cluster.start_and_connect_sync)
    assert cluster.controller is None
    leaks.check()


TERMINAL = textwrap.dedent("""
    import os, time
    import oarlock

    def wait_for(path):
        while not os.path.exists(path):
            time.sleep(0.01)
        return os.getpid()

    with oarlock.Cluster(n=2) as rc:
        pids = rc[:].apply_sync(os.getpid)
        gate = os.path.join(rc.cluster.directory, "gate")
        result = rc[:].apply_async(wait_for, gate)
        for attempt in range(2):
            try:
                print("waiting", flush=True)
                result.get()
            except KeyboardInterrupt:
                print("interrupted", flush=True)
        open(gate, "w").close()
        print("same" if result.get(20) == pids else "others", flush=True)
""")


@contextlib.contextmanager
def script(source, tmp_path, **options):
    """A script in a session of its own, with its stderr in a file; ended at the end."""
    with (
        open(tmp_path / "stderr", "w") as err,
        subprocess.Popen(
            [sys.executable, "-c", source],
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
            start_new_session=True,
            **options,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def take_terminal():
    """In the script's process: what is typed at its standard input is for it."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_ctrl_c_in_a_terminal_reaches_the_script_but_not_its_engines(leaks, tmp_path):
    master, slave = pty.openpty()
    options = {"stdin": slave, "preexec_fn": take_terminal}
    with script(TERMINAL, tmp_path, **options) as process:
        os.close(slave)
        for _ in range(2):
            assert process.stdout.readline() == "waiting\n"
            os.write(master, b"\x03")
            assert process.stdout.readline() == "interrupted\n"
        assert process.stdout.read() == "same\n"
        assert process.wait(DEADLINE) == 0
    os.close(master)
    assert not (tmp_path / "stderr").read_text()
    leaks.check()


def test_a_script_that_does_not_catch_the_interrupt_leaves_nothing(leaks, tmp_path):
    source = TERMINAL.replace("except KeyboardInterrupt:", "except ZeroDivisionError:")
    with script(source, tmp_path) as process:
        assert process.stdout.readline() == "waiting\n"
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(DEADLINE) == -signal.SIGINT
    shown = (tmp_path / "stderr").read_text()
    assert shown.count("Traceback") == 1
    assert shown.endswith("KeyboardInterrupt\n")
    leaks.check()


ELSEWHERE = """
import sys
import oarlock

with oarlock.Cluster(n=0) as rc:
    print(rc.cluster.directory, flush=True)
    sys.stdin.read()
"""


def test_connecting_to_a_stopped_controller_is_left(leaks, tmp_path):
    with script(ELSEWHERE, tmp_path, stdin=subprocess.PIPE) as process:
        directory = process.stdout.readline().strip()
        process.send_signal(signal.SIGSTOP)
        try:
            interrupted(lambda: oarlock.Client(directory=directory, timeout=DEADLINE))
        finally:
            process.send_signal(signal.SIGCONT)
        process.stdin.close()
        assert process.wait(DEADLINE) == 0
    leaks.check()
