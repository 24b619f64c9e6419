"""An engine is killed and then the controller, before the client has heard of the first: what was
begun is known to the controller that follows. The rules in bulk are tried by `src/sim`."""

import ast
import os
import select
import signal
import subprocess
import sys
import time

import pytest

import oarlock

from . import standalone
from .conftest import Gate
from .waiting import wait_until

NAME = "unheard"
PATIENCE = 30

#: A client of its own process, so that it can be stopped: it submits a task that marks where it
#: begins and then waits, and says in the end what became of it. If it is told an engine, it submits
#: a flood of short tasks there, of which the first waits, too.
CLIENT = """
import sys
import oarlock

retries, marks, *gates = sys.argv[1:]

def hold(began, go):
    import os
    for path, how in ((began, os.O_WRONLY), (go, os.O_RDONLY)):
        file = os.open(path, how)
        os.write(file, b".") if how else os.read(file, 1)
        os.close(file)

def work():
    import os
    file = os.open(marks, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, f"{os.getpid()}\\n".encode())
    os.close(file)
    hold(*gates[:2])
    return oarlock.current_attempt()

def outcome(result):
    try:
        return result.get(30)
    except oarlock.EngineLost as lost:
        return lost.engine, lost.attempt, lost.cause

with oarlock.Client(cluster_id="unheard") as rc:
    result = rc.load_balanced_view(retries=int(retries)).apply_async(work)
    flood = []
    for engine in map(int, sys.stdin):
        there = rc.load_balanced_view(targets=[engine])
        held = there.apply_async(hold, *gates[2:])
        flood = there.map_async(lambda item: bytes(200), range(6000), chunksize=1)
        print("submitted", flush=True)
        break
    print([outcome(result), sum(map(len, flood))], flush=True)
"""


def start():
    return standalone.start(NAME, "-n", "2")


@pytest.fixture
def record(leaks):
    """A standalone cluster with two engines."""
    yield start()
    standalone.stop_all()
    leaks.check()


class Submitter:
    """The process of `CLIENT`."""

    def __init__(self, directory, gates, retries):
        self._marks = str(directory / "marks")
        self._gates = gates
        paths = [path for gate in gates for path in (gate._began, gate._go)]
        self._process = subprocess.Popen(
            [sys.executable, "-c", CLIENT, str(retries), self._marks, *paths],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        gates[0].wait_begun()

    def flood(self, engine):
        """Have it submit more, until more waits to be heard than there is room for on its way."""
        self._process.stdin.write(f"{engine}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "submitted\n"
        self._gates[1].wait_begun()

    def release_flood(self):
        self._gates[1].release()

    def stop(self):
        """From here on it hears nothing."""
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def outcome(self):
        """Let it go on, and its task; gives what became of that, and of the flood."""
        self._process.send_signal(signal.SIGCONT)
        self._process.stdin.close()
        deadline = time.monotonic() + PATIENCE
        while not select.select([self._process.stdout], [], [], 0.05)[0]:
            assert time.monotonic() < deadline, "it waits for ever"
            self._gates[0].release()
        self._process.stdin = None
        return ast.literal_eval(self._process.communicate(timeout=PATIENCE)[0])

    def begun(self):
        """In which processes its task was begun."""
        with open(self._marks) as lines:
            return [int(line) for line in lines]

    def close(self):
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def submit(tmp_path, gate):
    """Starts a `Submitter` with so many retries, whose task has begun."""
    (tmp_path / "flood").mkdir()
    gates = gate, Gate(tmp_path / "flood")
    made = []

    def submit(retries):
        made.append(Submitter(tmp_path, gates, retries))
        return made[-1]

    yield submit
    for one in made:
        one.close()
    gates[1].close()


def kill_both(record, engine, pid, wait_exit):
    """Kill an engine, and its controller as soon as that knows; another follows."""
    with oarlock.Client(cluster_id=NAME) as other:
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: engine not in other.ids, "its end is noticed")
    os.kill(record.pid, signal.SIGKILL)
    assert wait_exit(record.pid, PATIENCE)
    return start()


def engine_of(pid):
    """The number of the engine of this process, and those of others."""
    with oarlock.Client(cluster_id=NAME) as rc:
        rc.wait_for_engines(2, timeout=PATIENCE)
        wait_until(lambda: pid in numbers(rc), "it comes back")
        by_pid = numbers(rc)
    engine = by_pid.pop(pid)
    return engine, *by_pid.values()


def numbers(rc):
    """The number of the engine of each process."""
    return {about["pid"]: engine for engine, about in rc.engine_status().items()}


def test_what_was_begun_without_retries_is_lost_and_not_begun_again(record, submit, wait_exit):
    client = submit(retries=0)
    (pid,) = client.begun()
    engine, other = engine_of(pid)
    client.flood(other)
    client.stop()
    client.release_flood()
    with oarlock.Client(cluster_id=NAME) as watch:
        idle = {"queue": 0, "tasks": 0}
        wait_until(lambda: idle.items() <= watch.queue_status()[other].items(), "the flood ends")
    kill_both(record, engine, pid, wait_exit)
    (lost, attempt, cause), flood = client.outcome()
    assert (lost, attempt) == (engine, 1)
    assert "killed by SIGKILL" in cause, "the next controller knows how it ended"
    assert flood == 6000 * 200
    assert client.begun() == [pid]


def test_each_attempt_counts_though_nobody_has_heard_of_it(record, submit, gate, wait_exit):
    client = submit(retries=1)
    client.stop()
    (first,) = client.begun()
    engine, *_ = engine_of(first)
    again = kill_both(record, engine, first, wait_exit)
    # It is given to the other by the one controller or by the other, and begun there.
    gate.wait_begun()
    _, second = client.begun()
    engine, *_ = engine_of(second)
    kill_both(again, engine, second, wait_exit)
    (lost, attempt, _), _ = client.outcome()
    assert (lost, attempt) == (engine, 2)
    assert client.begun() == [first, second]
