"""Fixtures for tests on a cluster: tasks that a test holds, scripts."""

import asyncio
import contextlib
import importlib
import os
import select
import subprocess
import sys
import threading
import time

import pytest

import oarlock

from .balance import POOL, Balance, name_of
from .far import Far
from .kept import Kept, Marks

# Seconds for what takes milliseconds; only a fault uses them up.
PATIENCE = 20.0
#: Segments at rest that the process may keep; its pool holds no more.
POOLED = 128


class Gate:
    """Makes tasks that tell when they have begun and go on when the test says so."""

    def __init__(self, directory):
        self._began, self._go = (str(directory / name) for name in ("began", "go"))
        os.mkfifo(self._began)
        os.mkfifo(self._go)
        # Open for both, so that no side ever waits for the other to open.
        self._began_file, self._go_file = (
            os.open(path, os.O_RDWR | os.O_NONBLOCK) for path in (self._began, self._go)
        )

    @property
    def hold(self):
        """A function for tasks: tells that it has begun, waits, and returns its argument."""
        began, go = self._began, self._go

        def hold(value=None):
            import os

            file = os.open(began, os.O_WRONLY)
            os.write(file, b".")
            os.close(file)
            file = os.open(go, os.O_RDONLY)
            try:
                os.read(file, 1)
            finally:
                os.close(file)
            return value

        return hold

    def wait_begun(self, count=1):
        """Wait until so many held tasks (more) have begun."""
        deadline = time.monotonic() + PATIENCE
        while count:
            left = max(0.0, deadline - time.monotonic())
            assert select.select([self._began_file], [], [], left)[0], f"{count} never began"
            count -= len(os.read(self._began_file, count))

    def begun(self):
        """Whether a task has begun that nobody waited for."""
        return bool(select.select([self._began_file], [], [], 0)[0])

    def release(self, count=1):
        """Let so many tasks go on, held now or later."""
        os.write(self._go_file, b"." * count)

    def close(self):
        self.release(1000)
        for path, file in ((self._began, self._began_file), (self._go, self._go_file)):
            os.unlink(path)
            os.close(file)


@pytest.fixture
def far(leaks, tmp_path):
    """A cluster behind a gate."""
    cluster = Far(tmp_path, "--lease", "20")
    yield cluster
    cluster.end()
    leaks.check()


def use(client):
    """Make a client do what makes it open all that it keeps for its life."""
    assert client[:].apply_sync(abs, -1) == [1] * len(client)
    view = client.load_balanced_view()
    called = threading.Event()
    view.map_async(abs, range(100)).add_done_callback(lambda _: called.set())
    assert called.wait(PATIENCE)


@pytest.fixture(scope="session")
def _warm(runtime_directory):
    """What is made once for each process is no leak: imports, the pool for coroutines, a lock."""

    async def work():
        async with oarlock.Cluster(n=1, cluster_id="warm") as client:
            use(client)
            # A cluster that is there at once would not need it.
            assert await client._core.wait_engines_async(1, PATIENCE)

    # It starts threads of its own, where it is installed.
    with contextlib.suppress(ImportError):
        importlib.import_module("numpy")
    asyncio.run(work())


@pytest.fixture(scope="session")
def _warm_shared(shared_client):
    use(shared_client)


@pytest.fixture(autouse=True)
def _balanced(request, runtime_directory, _warm):
    """Every test here leaves what it found: see `balance.py`. It costs a few milliseconds."""
    if "shared_client" in request.fixturenames:
        request.getfixturevalue("_warm_shared")
    balance = Balance(runtime_directory)
    yield
    if request.node.get_closest_marker("keeps"):
        return
    left = balance.settle(without_pools)
    assert not left, f"the test left behind {left}"


def without_pools(more):
    """Leave out what belongs to the process and is bounded.

    Shared memory at rest stays while a cluster of the process lives, and threads that serve
    coroutines stay for ten seconds, in which the next one may need them.
    """
    for kept in (more.descriptors, more.mappings):
        for name in [name for name in kept if name.startswith(POOL)]:
            assert kept.pop(name) <= POOLED, "segments are used again"
    for number in [number for number in more.threads if name_of(number) == "oarlock-aside"]:
        del more.threads[number]
    return more


@pytest.fixture
def gate(tmp_path):
    """A `Gate`; whoever is still held at the end of the test goes on."""
    made = Gate(tmp_path)
    yield made
    made.close()


@pytest.fixture
def script(tmp_path, leaks):
    """Runs source as a script of its own; gives what it printed, and fails if it failed."""

    def run(source):
        path = tmp_path / "script.py"
        path.write_text(source)
        done = subprocess.run(
            [sys.executable, "-W", "error", path],
            capture_output=True,
            text=True,
            timeout=50,
            cwd=tmp_path,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run


@pytest.fixture
def other(rc):
    """A second client of the shared cluster, connected from outside as another process would."""
    with oarlock.Client(directory=rc.cluster.directory) as client:
        yield client
        assert client.wait(timeout=20)


@pytest.fixture
def kept(leaks, tmp_path, wait_exit):
    """A cluster with a store that is not started yet."""
    cluster = Kept(tmp_path, wait_exit)
    yield cluster
    cluster.close()
    leaks.check()


@pytest.fixture
def marks(tmp_path):
    """Where tasks write down that they run."""
    return Marks(tmp_path)
