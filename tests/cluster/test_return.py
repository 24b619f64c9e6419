"""A client whose session ended though it lives and its controller does: it comes back and goes on.

Real processes, through the gate, since only there a silence ends a session. The rules in bulk are
tried by `src/sim`.
"""

import collections
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading

import pytest

import oarlock
from oarlock import error

from .far import NAME, Far
from .marking import executions_at, marking
from .waiting import PATIENCE, wait_until

#: Seconds of silence after which a client behind the gate is given up.
LOST = "3"


@pytest.fixture(params=[(), ("store",)], ids=["plain", "stored"])
def far(leaks, tmp_path, request):
    """A cluster behind a gate, without a store and with one."""
    store = ["--store", str(tmp_path / "store")] if request.param else []
    cluster = Far(tmp_path, "--suspect-after", "1", "--lost-after", LOST, *store, engines=2)
    yield cluster
    cluster.end()
    leaks.check()


class Marks:
    """What tasks wrote down of their executions, and what those of each part wait for."""

    def __init__(self, directory):
        self.path = str(directory / "executions")
        self.go = str(directory / "go")
        self._let_go = []

    def count(self):
        return executions_at(self.path)

    def hold(self, parts):
        """Items of these parts do not end before they are let go."""
        for part in parts:
            os.mkfifo(f"{self.go}{part}")

    def let_go(self, part):
        """Let the items of a part end."""
        # Whoever opens it to read goes on as soon as somebody has it open to write.
        self._let_go.append(os.open(f"{self.go}{part}", os.O_RDWR))

    def close(self):
        for file in self._let_go:
            os.close(file)


#: Maps so many items, in parts that begin at so many; those of all parts but the first wait to be
#: let go. So nothing else is done of a map than what the test wants.
CLIENT = """
import sys, oarlock
file, path, go, count, *bounds = sys.argv[1:]
count, bounds = int(count), [int(bound) for bound in bounds]

def mark(item):
    import bisect, os
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, f"{item}\\n".encode())
    os.close(file)
    if part := bisect.bisect(bounds, item):
        os.close(os.open(f"{go}{part}", os.O_RDONLY))
    return -item

with oarlock.Client(file) as rc:
    rc.wait_for_engines(2, timeout=60)
    result = rc.load_balanced_view().map_async(mark, range(count), chunksize=1)
    try:
        print(result.get(timeout=60) == [-item for item in range(count)], flush=True)
    except Exception as failure:
        print(type(failure).__name__, str(failure).replace("\\n", " "), flush=True)
"""


@contextlib.contextmanager
def mapping(far, marks, count, *bounds):
    """A process that maps so many items, in parts that begin at `bounds`; the last has two."""
    numbers = map(str, (count, *bounds, count - 2))
    marks.hold(range(len(bounds) + 2))
    command = [sys.executable, "-c", CLIENT, far.file, marks.path, marks.go, *numbers]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        marks.close()


def stop_until_given_up(far, process):
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: far.connections() == 0, "it is given up")


def test_a_client_that_was_stopped_for_too_long_goes_on_with_its_map(far, tmp_path):
    marks, count = Marks(tmp_path), 3_000
    with mapping(far, marks, count) as client:
        wait_until(lambda: len(marks.count()) > count / 10, "the map does not get on")
        stop_until_given_up(far, client)
        wait_until(lambda: len(marks.count()) == count, "the map goes on without it")
        client.send_signal(signal.SIGCONT)
        wait_until(lambda: far.connections() > 0, "it is back")
        marks.let_go(1)
        assert client.stdout.readline() == "True\n"
    assert marks.count() == collections.Counter(range(count))


def test_it_may_be_stopped_again_and_again(far, tmp_path):
    marks, size, parts = Marks(tmp_path), 2_000, 3
    count = parts * size
    with mapping(far, marks, count, *range(size, count, size)) as client:
        for part in range(parts):
            marks.let_go(part)
            enough = (part + 0.1) * size
            wait_until(lambda enough=enough: len(marks.count()) > enough, "it does not get on")
            stop_until_given_up(far, client)
            client.send_signal(signal.SIGCONT)
            wait_until(lambda: far.connections() > 0, "it is back")
        marks.let_go(parts)
        assert client.stdout.readline() == "True\n"
    assert marks.count() == collections.Counter(range(count))


def test_nor_is_anything_run_again_if_the_controller_dies_before_it_is_back(
    far, tmp_path, wait_exit
):
    marks, count = Marks(tmp_path), 1_000
    with mapping(far, marks, count) as client:
        wait_until(lambda: len(marks.count()) > count / 10, "the map does not get on")
        stop_until_given_up(far, client)
        wait_until(lambda: len(marks.count()) == count, "the map goes on without it")
        os.kill(far.record.pid, signal.SIGKILL)
        assert wait_exit(far.record.pid, PATIENCE)
        far.start_again()
        marks.let_go(1)
        client.send_signal(signal.SIGCONT)
        assert client.stdout.readline() == "True\n"
    assert marks.count() == collections.Counter(range(count))


class Wire:
    """A wire to the gate that a test can cut: at the client's end, or at both."""

    def __init__(self, far, directory):
        self._gate = ("127.0.0.1", far.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._wake = socket.socketpair()
        #: The client's ends with those that lead to the gate.
        self._pairs = {}
        self._kept = []
        self.whole = True
        #: Bytes that went either way.
        self.passed = 0
        self._wishes = []
        with open(far.file) as file:
            card = json.load(file)
        card["endpoints"] = [f"127.0.0.1:{self._listener.getsockname()[1]}"]
        self.file = str(directory / "wire.json")
        with open(os.open(self.file, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            json.dump(card, file)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        while True:
            ends = [end for pair in self._pairs.items() for end in pair]
            ready, _, _ = select.select([self._listener, self._wake[0], *ends], [], [])
            if self._wake[0] in ready:
                self._wake[0].recv(1)
                if not self._obey():
                    return
                continue
            if self._listener in ready:
                self._accept()
            for near, gate in list(self._pairs.items()):
                for end, other in ((near, gate), (gate, near)):
                    if end in ready and near in self._pairs:
                        self._pass(near, end, other)

    def _accept(self):
        near, _ = self._listener.accept()
        if self.whole:
            self._pairs[near] = socket.create_connection(self._gate)
        else:
            near.close()

    def _pass(self, near, end, other):
        with contextlib.suppress(OSError):
            if data := end.recv(1 << 16):
                other.sendall(data)
                self.passed += len(data)
                return
        gate = self._pairs.pop(near)
        near.close()
        gate.close()

    def _obey(self):
        wish, done = self._wishes.pop()
        for near, gate in self._pairs.items():
            near.close()
            self._kept.append(gate)
        self._pairs.clear()
        if wish != "cut here":
            for gate in self._kept:
                gate.close()
            self._kept.clear()
        done.set()
        return wish != "end"

    def _wish(self, wish):
        done = threading.Event()
        self._wishes.append((wish, done))
        self._wake[1].send(b".")
        assert done.wait(PATIENCE)

    def cut(self):
        """Both sides see it at once."""
        self._wish("cut")

    def cut_here(self):
        """The controller's side sees nothing of it but silence."""
        self._wish("cut here")

    def close(self):
        self._wish("end")
        self._thread.join()
        for end in (self._listener, *self._wake):
            end.close()


@pytest.fixture
def wire(far, tmp_path):
    made = Wire(far, tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("cut", ["cut", "cut_here"])
def test_a_connection_that_is_reset_costs_nothing(far, wire, tmp_path, cut):
    mark, executions = marking(tmp_path, 0.001)
    with oarlock.Client(wire.file) as rc:
        rc.wait_for_engines(2, timeout=PATIENCE)
        for _ in range(3):
            ar = rc.load_balanced_view().map_async(mark, range(500), chunksize=1)
            wait_until(lambda ar=ar: ar.progress > 50, "the map does not get on")
            getattr(wire, cut)()
            assert ar.get(PATIENCE) == [-item for item in range(500)]
            assert executions() == collections.Counter(range(500))
            os.unlink(tmp_path / "executions")
        assert rc.ids == [0, 1]
        assert rc[:].apply_sync(abs, -1) == [1, 1]


def test_what_is_submitted_and_cancelled_and_asked_while_it_is_away_is_seen_to(
    far, wire, gate, caplog
):
    with oarlock.Client(wire.file) as rc, oarlock.Client(cluster_id=NAME) as near:
        rc.wait_for_engines(2, timeout=PATIENCE)
        lview = rc.load_balanced_view()
        held = lview.map_async(gate.hold, range(2), chunksize=1)
        gate.wait_begun(2)
        waiting = lview.map_async(gate.hold, range(10, 14), chunksize=1)
        other = near.load_balanced_view().apply_async(abs, -5)
        watched = rc.get_result(other.msg_ids)
        wire.whole = False
        wire.cut()
        wait_until(lambda: rc.away, "the client notices")
        assert not held.wait(0.2), "who waits is told"
        new = lview.map_async(lambda item: item + 1, range(100), chunksize=1)
        waiting.cancel()
        wire.whole = True
        assert set(rc.queue_status()) == {"unassigned", 0, 1}
        # An engine that goes on before it has heard that these are cancelled may begin one.
        with pytest.raises(error.TaskCancelled):
            waiting.get(PATIENCE)
        gate.release(2)
        assert held.get(PATIENCE) == [0, 1]
        assert new.get(PATIENCE) == list(range(1, 101))
        assert watched.get(PATIENCE) == [5]
        assert not gate.begun(), "what was cancelled never began"
    told = [entry.getMessage() for entry in caplog.records]
    assert sum("cannot be reached" in text for text in told) == 1, "once is enough"


def test_large_results_that_were_on_their_way_arrive(far, wire):
    np = pytest.importorskip("numpy")
    with oarlock.Client(wire.file) as rc:
        rc.wait_for_engines(2, timeout=PATIENCE)
        ar = rc[:].apply_async(np.arange, 10_000_000)
        for _ in range(2):
            enough = wire.passed + 20_000_000
            wait_until(lambda enough=enough: wire.passed > enough, "they are on their way")
            wire.cut()
        for array in ar.get(PATIENCE):
            assert (array == np.arange(10_000_000)).all()


def test_without_a_lease_there_is_nothing_to_come_back_to(far, wire, gate):
    with oarlock.Client(wire.file, lease=0) as rc, oarlock.Client(cluster_id=NAME) as near:
        rc.wait_for_engines(2, timeout=PATIENCE)
        wire.cut()
        assert rc[:].apply_sync(abs, -1) == [1, 1], "it had no tasks"
        ar = rc.load_balanced_view().apply_async(gate.hold)
        gate.wait_begun()
        wire.whole = False
        wire.cut()
        tasks = lambda: sum(near.queue_status()[engine]["tasks"] for engine in (0, 1))
        wait_until(lambda: tasks() == 0, "it is given up")
        wire.whole = True
        with pytest.raises(error.ControllerLost, match="the controller lives and has given"):
            ar.get(PATIENCE)
