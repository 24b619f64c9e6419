"""Peers that mean no good, at the door of a real controller, embedded and standalone.

What the door does with each of them is in ``src/transport/tests/strangers.rs``; here it is shown
that a cluster at work neither feels nor trusts them.
"""

import contextlib
import os
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

import oarlock
from oarlock.cluster import registry

from .conftest import PATIENCE

#: Half-open connections at a time.
LORIS = 1000
#: What a controller's memory may grow by, whatever strangers do, in MiB.
GROWTH = 16


def said(version, length, body=b""):
    """A first message as it lies on the wire, with a version and a length of our choice."""
    return b"oarlock\n" + struct.pack("<HI", version, length) + body


# The greeting of a peer of zeromq and the header of a frame of 2**62 bytes.
ZMTP = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(52, b"\0") + b"\x02"
ZMTP += struct.pack(">Q", 1 << 62)

HOSTILE = {
    "noise": os.urandom(300),
    "a web page": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a frame of 2**62 bytes": ZMTP,
    "a message of 4 GiB": said(2, 0xFFFFFFFF),
    "an old version": said(1, 5, b"hello"),
    "a message that is none": said(2, 3, b"\xdd\xff\xff"),
    "a message nested deeply": said(2, 4000, b"\x91" * 4000),
    "a message without an end": said(2, 4096) + bytes(1 << 20),
    "a list of 2**32 items": said(2, 5, b"\xdd\xff\xff\xff\xff"),
    "nothing": b"",
}


def until(done, what=str):
    """Wait for what nobody tells: a line in a log, a descriptor that is closed elsewhere."""
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline, what()
        threading.Event().wait(0.01)


class Controller:
    """A controller to be harmed: its directory, its process, and a client of it."""

    def __init__(self, client, pid, directory):
        self.client, self.pid, self.directory = client, pid, Path(directory)
        self.door = str(self.directory / "door.sock")

    @property
    def log(self):
        return (self.directory / "door.log").read_text()

    def until_told(self, text):
        until(lambda: text in self.log, lambda: self.log)

    def knock(self):
        stranger = socket.socket(socket.AF_UNIX)
        stranger.settimeout(PATIENCE)
        stranger.connect(self.door)
        return stranger

    def memory(self):
        """Resident memory of its process in MiB."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize() >> 20

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def serves(self):
        view = self.client.load_balanced_view()
        assert view.map(abs, range(-100, 0)).get(PATIENCE) == list(range(100, 0, -1))

    def lets_in(self):
        with oarlock.Client(directory=self.directory, timeout=PATIENCE) as other:
            assert other[:].apply_sync(abs, -1) == [1] * len(other)


@pytest.fixture(params=["embedded", "standalone"])
def controller(request, leaks):
    if request.param == "embedded":
        with oarlock.Cluster(n=1) as client:
            yield Controller(client, os.getpid(), client.cluster.directory)
        return
    oarlock_ = [sys.executable, "-m", "oarlock"]
    start = [*oarlock_, "start", "-n", "1", "--daemonize", "--cluster-id", "hostile"]
    subprocess.run(start, check=True, capture_output=True, timeout=50)
    (record,) = registry.list_clusters()
    with oarlock.Client(cluster_id="hostile") as client:
        yield Controller(client, record.pid, record.directory)
    os.kill(record.pid, signal.SIGTERM)
    leaks.check()


def until_hung_up(stranger):
    """Read to the end; what was said to it."""
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        while got := stranger.recv(1 << 16):
            answer += got
    return answer


def test_whatever_a_stranger_says_it_is_turned_away_and_nobody_feels_it(controller):
    controller.serves()
    memory, descriptors = controller.memory(), controller.descriptors()
    for _ in range(20):
        for bytes_ in HOSTILE.values():
            with controller.knock() as stranger:
                # It may hang up before it has heard all.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    stranger.sendall(bytes_)
                    stranger.shutdown(socket.SHUT_WR)
                answer = until_hung_up(stranger)
                assert len(answer) < 4096
                assert not answer or b"does not understand" in answer
        controller.serves()
    controller.lets_in()
    assert controller.memory() - memory < GROWTH
    until(lambda: controller.descriptors() <= descriptors + 1, controller.descriptors)
    controller.until_told("turned away 128 so far")
    pid = os.getpid()
    for reason in ("does not speak the protocol", "speaks another version of the protocol"):
        assert controller.log.count(f"process {pid} of user {os.getuid()}: it {reason}") == 1


@pytest.fixture
def place():
    """A directory whose path is short enough for sockets."""
    path = Path(tempfile.mkdtemp(prefix="o-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


def test_who_does_not_know_the_token_is_refused_with_a_reason(controller, place):
    (place / "door.sock").symlink_to(controller.door)
    lines = (controller.directory / "connection").read_text().splitlines()
    lines[1] = "00" * 32
    (place / "connection").write_text("\n".join(lines) + "\n")
    (place / "connection").chmod(0o600)
    for _ in range(3):
        with pytest.raises(OSError, match="the token is not that of the cluster"):
            oarlock.Client(directory=place, timeout=PATIENCE)
    controller.until_told("it does not know the token of this cluster")
    assert controller.log.count("it does not know the token of this cluster") == 1
    assert "00000000" not in controller.log
    controller.serves()


def test_a_thousand_half_open_connections_keep_nobody_out(controller):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 3 * LORIS:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 3 * LORIS), hard))
    memory, descriptors = controller.memory(), controller.descriptors()
    try:
        with contextlib.ExitStack() as strangers:
            for number in range(LORIS):
                stranger = strangers.enter_context(controller.knock())
                stranger.sendall(b"oarlock\n"[: number % 9])
            ours = LORIS if controller.pid == os.getpid() else 0
            # And some that its sessions open when they have begun.
            most = descriptors + ours + 64 + 8
            until(lambda: controller.descriptors() <= most, controller.descriptors)
            controller.lets_in()
            controller.serves()
            assert controller.memory() - memory < GROWTH
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    controller.until_told("it did not finish its first message in time")
    controller.serves()


INTRUDER = """
import os, socket, sys
for path in sys.argv[1:]:
    try:
        if path.endswith(".sock"):
            socket.socket(socket.AF_UNIX).connect(path)
        else:
            open(path).read()
    except PermissionError:
        continue
    sys.exit(f"{path} can be reached by user {os.getuid()}")
"""


KNOCKING = """
import socket, sys
stranger = socket.socket(socket.AF_UNIX)
stranger.settimeout(20)
stranger.connect(sys.argv[1])
sys.exit("it was spoken to" if stranger.recv(1) else 0)
"""


def test_another_user_reaches_neither_the_door_nor_the_connection_file(controller):
    setpriv = shutil.which("setpriv")
    if os.getuid() != 0 or setpriv is None:
        pytest.skip("only root can become another user, with setpriv")
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    as_nobody = [setpriv, "--reuid=65534", "--regid=65534", "--clear-groups"]
    paths = [controller.door, str(controller.directory / "connection")]
    done = subprocess.run(
        [*as_nobody, python, "-c", INTRUDER, *paths],
        capture_output=True,
        text=True,
        timeout=50,
        cwd="/",
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    # Even where the directory was opened to others by mistake, the kernel says who knocks.
    opened = [controller.directory, *controller.directory.parents]
    opened = [place for place in opened if place.stat().st_mode & 0o777 == 0o700]
    for place in opened:
        place.chmod(0o711)
    try:
        os.chmod(controller.door, 0o666)
        done = subprocess.run(
            [*as_nobody, python, "-c", KNOCKING, controller.door],
            capture_output=True,
            text=True,
            timeout=50,
            cwd="/",
            check=False,
        )
    finally:
        for place in opened:
            place.chmod(0o700)
    assert (done.returncode, done.stderr) == (0, "")
    controller.until_told("of user 65534: it belongs to another user")


CROWDED = """
import contextlib, os, resource, socket, threading, time
from pathlib import Path
import oarlock

with oarlock.Cluster(n=1) as rc:
    view = rc.load_balanced_view()
    assert view.map(abs, range(-9, 0)).get(20)[0] == 9
    door, log = (os.path.join(rc.cluster.directory, name) for name in ("door.sock", "door.log"))

    def until(done):
        deadline = time.monotonic() + 20
        while not done():
            assert time.monotonic() < deadline
            threading.Event().wait(0.01)

    with contextlib.ExitStack() as stack:
        # Peers that connected, and no descriptor left to take them with.
        waiting = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(20)]
        text = stack.enter_context(open(log))
        told = []

        def crowded():
            told.extend(text.readlines())
            return any("nobody can be let in for now" in line for line in told)

        used = len(os.listdir("/proc/self/fd"))
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (used - 1, hard))
        for stranger in waiting:
            stranger.connect(door)
        until(crowded)
        # Those inside go on as ever.
        for _ in range(20):
            assert view.map(abs, range(-100, 0)).get(20)[0] == 100
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    read = lambda: Path(log).read_text()
    until(lambda: "peers can be let in again" in read())
    with oarlock.Client(directory=rc.cluster.directory, timeout=20) as other:
        assert other[:].apply_sync(abs, -1) == [1]
    told = read()
    assert told.count("nobody can be let in for now: Too many open files") == 1, told
    print("served")
"""


def test_without_descriptors_the_door_waits_and_says_so_once_and_those_inside_go_on(script):
    assert script(CROWDED) == "served\n"


def garble(how):
    """Send what no peer of ours would say over the open session of this engine."""
    import os
    import socket
    import stat

    for number in map(int, os.listdir("/proc/self/fd")):
        try:
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
            with socket.socket(fileno=os.dup(number)) as found:
                peer = str(found.getpeername())
                if peer.endswith("door.sock") if how == "lifeline" else "sock" not in peer and peer:
                    found.send(how.encode() * 10)
        except OSError:
            continue


@pytest.mark.parametrize("how", ["lifeline", "\x00\x05noise"])
def test_garbage_on_a_session_ends_that_session_alone(controller, how):
    client = controller.client
    memory = controller.memory()
    with oarlock.Client(directory=controller.directory) as other:
        others = other.load_balanced_view()
        version = client._core.engines_version()
        lost = client[0].apply_async(garble, how)
        lost.wait(PATIENCE)
        # The engine comes back as a new one, as after each end of its session.
        while 0 in client.ids or not client.ids:
            assert client._core.wait_engines_change(version, PATIENCE), "nothing happened"
            version = client._core.engines_version()
        assert others.map(abs, range(-100, 0)).get(PATIENCE)[0] == 100
    controller.serves()
    assert controller.memory() - memory < GROWTH
