"""Nothing stays behind: no process, directory, shared memory, descriptor or thread."""

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

import oarlock

DEADLINE = 20


def descriptors():
    """What this process has open, as ``number -> what``."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found[int(entry.name)] = os.readlink(entry)
        except OSError:
            continue  # the one that listing took
    return found


def threads():
    """Names of the threads of this process, as the kernel knows them, by id."""
    found = {}
    for entry in Path("/proc/self/task").iterdir():
        try:
            found[int(entry.name)] = (entry / "comm").read_text().strip()
        except OSError:
            continue
    return found


def shared_memory():
    """Segments that oarlock or Python made; other programs of the machine make theirs."""
    kinds = ("oarlock", "psm_", "sem.", "pym-", "wnsm_")
    return {name for name in os.listdir("/dev/shm") if name.startswith(kinds)}


def children():
    """Processes whose parent this is, the dead that nobody reaped included."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        try:
            found |= {int(pid) for pid in (task / "children").read_text().split()}
        except OSError:
            continue
    return found


def work(rc):
    """Use everything that might leave something behind."""
    lview = rc.load_balanced_view()
    called = threading.Event()
    result = lview.map_async(abs, range(100))
    result.add_done_callback(lambda _: called.set())
    assert called.wait(DEADLINE)
    assert rc[:].apply_sync(len, bytes(3_000_000)) == [3_000_000] * len(rc)
    assert lview.apply_sync(bytes, 3_000_000) == bytes(3_000_000)
    with pytest.raises(ZeroDivisionError):
        lview.apply_sync(divmod, 1, 0)
    pending = lview.apply_async(_nap)
    assert not pending.ready()


def _nap():
    import time

    time.sleep(60)


@pytest.fixture
def balance(leaks):
    """Call it to learn what this process has more than before."""
    gc.collect()
    fds, tasks, shm, kids = descriptors(), threads(), shared_memory(), children()

    def more():
        gc.collect()
        return {
            "descriptors": {n: what for n, what in descriptors().items() if n not in fds},
            "threads": {n: name for n, name in threads().items() if n not in tasks},
            "shared memory": shared_memory() - shm,
            "children": children() - kids,
        }

    return more


#: Segments that three clients, one after the other, need at a time.
POOLED = 6

NOTHING = {"descriptors": {}, "threads": {}, "shared memory": set(), "children": set()}


def until_nothing(balance):
    """Threads that end are gone from the kernel's list a moment after they were joined."""
    deadline = threading.Event()
    for _ in range(200):
        if balance() == NOTHING:
            return
        deadline.wait(0.01)
    assert balance() == NOTHING


def without_pool(more):
    """Shared memory at rest belongs to the process, and stays while a cluster of it lives."""
    pooled = [n for n, what in more["descriptors"].items() if what.startswith("/memfd:oarlock")]
    assert len(pooled) <= POOLED, "segments are used again"
    kept = {n: what for n, what in more["descriptors"].items() if n not in pooled}
    return {**more, "descriptors": kept}


@pytest.fixture(autouse=True, scope="module")
def _warm(runtime_directory):
    """What is made once for each process is no leak: pools of threads, imports, logs."""
    with oarlock.Cluster(n=1) as rc:
        work(rc)


def test_a_cluster_leaves_nothing(balance, leaks):
    for _ in range(3):
        with oarlock.Cluster(n=2) as rc:
            work(rc)
            assert balance() != NOTHING
        leaks.check(1)
        del rc
        until_nothing(balance)


def test_a_cluster_stopped_by_hand_leaves_nothing(balance, leaks):
    cluster = oarlock.Cluster(n=2)
    rc = cluster.start_and_connect_sync()
    work(rc)
    cluster.stop_cluster_sync()
    leaks.check(1)
    del rc, cluster
    until_nothing(balance)


def test_a_cluster_that_is_only_forgotten_leaves_nothing(balance, leaks):
    rc = oarlock.Cluster(n=1).start_and_connect_sync()
    work(rc)
    del rc
    gc.collect()
    leaks.check()
    until_nothing(balance)


def test_a_client_of_a_cluster_elsewhere_leaves_nothing(rc, balance):
    for _ in range(3):
        with oarlock.Client(directory=rc.cluster.directory) as client:
            work(client)
            client.abort(block=True)
        del client
    until_nothing(lambda: without_pool(balance()))


def test_a_client_that_cannot_connect_leaves_nothing(tmp_path, balance):
    for _ in range(3):
        (tmp_path / "connection").touch(0o600)
        with pytest.raises(OSError):
            oarlock.Client(directory=tmp_path, timeout=0.2)
        with pytest.raises(FileNotFoundError):
            oarlock.Client(directory=tmp_path / "nowhere")
    until_nothing(balance)


def test_a_cluster_whose_engines_cannot_start_leaves_nothing(balance, leaks):
    for _ in range(2):
        with pytest.raises(oarlock.EngineError):
            oarlock.Cluster(n=2, env={"PYTHONHOME": "/dev/null"}).start_and_connect_sync()
    leaks.check(1)
    until_nothing(balance)


def test_engines_that_die_are_reaped_and_leave_nothing_open(balance):
    with oarlock.Cluster(n=1) as rc:
        gc.collect()
        one = len(descriptors()), len(threads())
        for _ in range(3):
            version = rc._core.engines_version()
            rc[:].apply_async(os._exit, 1).wait(DEADLINE)
            while rc.ids:
                assert rc._core.wait_engines_change(version, DEADLINE)
            rc.cluster.start_engines_sync(1)
            rc.wait_for_engines(1, timeout=DEADLINE)
        assert rc[:].apply_sync(abs, -1) == [1]
        assert len(balance()["children"]) <= 1
        assert len(descriptors()) <= one[0]
        assert len(threads()) <= one[1]
    del rc
    until_nothing(balance)


def test_an_engine_keeps_no_descriptor_of_its_parent(new_client, tmp_path):
    with open(tmp_path / "mine", "w") as file:
        os.set_inheritable(file.fileno(), False)
        (links,) = new_client(1)[:].apply_sync(_links)
    assert not [link for link in links if link.endswith("/mine")]


def _links():
    import os

    links = []
    for number in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue
    return links


KILLED = """
import os, signal, sys, threading, time
import oarlock

def nap():
    time.sleep(60)

def stubborn():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(60)

def hold_the_lock():
    import ctypes
    ctypes.PyDLL(None).sleep(60)

def flood():
    while True:
        print("x" * 1000)

rc = oarlock.Cluster(n=2).start_and_connect_sync()
lview = rc.load_balanced_view()
results = [lview.apply_async({task}) for _ in range(4)] if {task} else []
while results and len([r for r in results if r.started]) < 2:
    time.sleep(0.01)
print(rc.cluster.directory, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("task", ["None", "nap", "stubborn", "hold_the_lock", "flood"])
def test_a_client_that_is_killed_takes_engines_and_directory_along(leaks, task):
    before = shared_memory()
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED).replace("{task}", task)],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    leaks.check(5)
    assert not os.path.exists(done.stdout.strip())
    assert shared_memory() <= before


def test_what_was_left_by_one_that_had_no_time_is_removed_by_the_next(leaks):
    """Killed together with its engines, nobody is there to remove the directory."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent(KILLED)
            .replace("{task}", "None")
            .replace(
                "os.kill(", "for pid in rc[:].apply_sync(os.getpid): os.kill(pid, 9)\nos.kill("
            ),
        ],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    directory = Path(done.stdout.strip())
    if directory.exists():
        # Young directories may belong to a start under way; this one is made old.
        os.utime(directory, (1, 1))
    with oarlock.Cluster(n=1):
        assert not directory.exists()
    leaks.check()


KILLED_STARTING = """
import os, signal, threading
from pathlib import Path
import oarlock

def engines():
    found = []
    for task in Path("/proc/self/task").iterdir():
        found += (task / "children").read_text().split()
    return found

def loaded():
    for pid in engines():
        try:
            if "_oarlock" in Path(f"/proc/{pid}/maps").read_text():
                return True
        except OSError:
            pass
    return False

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def watch():
    while not engines():
        pass
    die()

moment = {moment!r}
cluster = oarlock.Cluster(n=3)
cluster.start_controller_sync()
if moment == "while they are started":
    threading.Thread(target=watch).start()
cluster.start_engines_sync()
if moment == "when Python has started in one":
    while not loaded():
        pass
if moment == "when one has joined":
    cluster.controller.wait_engines(1)
if moment == "when all have joined":
    cluster.controller.wait_engines(3)
if moment != "while they are started":
    die()
threading.Event().wait(20)
"""

MOMENTS = [
    "while they are started",
    "when all are started",
    "when Python has started in one",
    "when one has joined",
    "when all have joined",
]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_client_that_is_killed_while_engines_start_leaves_nothing(leaks, moment):
    done = subprocess.run(
        [sys.executable, "-c", KILLED_STARTING.replace("{moment!r}", repr(moment))],
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")
    # One may be between fork and exec, where it has no name yet; the directory tells of it.
    deadline = time.monotonic() + DEADLINE
    while (leaks.processes() or leaks.directories()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not leaks.processes()
    assert not leaks.directories()
