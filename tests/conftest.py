"""Fixtures for tests on real processes: a shared cluster, fresh ones, and a search for leftovers.

All clusters of a test run live below one private directory, and each engine has its cluster's
directory in its command line, so what a test left behind is found by that name alone, whoever its
parent is by then.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import oarlock

SHARED_ENGINES = 2


@pytest.fixture(scope="session", autouse=True)
def runtime_directory() -> Iterator[Path]:
    """Where clusters of this run live; short, since sockets' paths must be."""
    path = Path(tempfile.mkdtemp(prefix="o-", dir="/tmp"))
    before = os.environ.get("XDG_RUNTIME_DIR")
    os.environ["XDG_RUNTIME_DIR"] = str(path)
    yield path
    if before is None:
        del os.environ["XDG_RUNTIME_DIR"]
    else:
        os.environ["XDG_RUNTIME_DIR"] = before
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def shared_client(runtime_directory: Path) -> Iterator[oarlock.Client]:
    """One cluster for all tests that do no harm to it."""
    import oarlock

    with oarlock.Cluster(n=SHARED_ENGINES) as client:
        yield client


@pytest.fixture
def rc(shared_client: oarlock.Client) -> Iterator[oarlock.Client]:
    """The client of the shared cluster, handed over idle and with empty namespaces."""
    before = shared_client.ids
    yield shared_client
    assert shared_client.wait(timeout=20), "the test left tasks running on the shared cluster"
    assert shared_client.ids == before, "the test changed the engines of the shared cluster"
    shared_client[:].clear(block=True)
    shared_client.block = False


@pytest.fixture
def view(rc: oarlock.Client) -> Any:
    """A direct view on all engines of the shared cluster."""
    return rc[:]


@pytest.fixture
def lview(rc: oarlock.Client) -> Any:
    """A load-balanced view on the shared cluster."""
    return rc.load_balanced_view()


@pytest.fixture
def new_client(leaks: Leaks) -> Iterator[Callable[..., oarlock.Client]]:
    """``new_client(n=2, **options)`` starts a cluster of the test's own, to be harmed at will."""
    import oarlock

    with contextlib.ExitStack() as stack:

        def start(n: int = 2, **options: Any) -> oarlock.Client:
            return stack.enter_context(oarlock.Cluster(n=n, **options))

        yield start


class Leaks:
    """What exists below a runtime directory beyond what existed when this was made."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._processes = self._find_processes()
        self._directories = self._find_directories()

    def processes(self) -> dict[int, str]:
        """Processes that came and stayed, with their command lines."""
        found = self._find_processes()
        return {pid: line for pid, line in found.items() if pid not in self._processes}

    def directories(self) -> set[Path]:
        """Directories of clusters that came and stayed."""
        return self._find_directories() - self._directories

    def check(self, timeout: float = 5.0) -> None:
        """Fail unless all processes are gone within `timeout` seconds, and their directories."""
        deadline = time.monotonic() + timeout
        for pid in self.processes():
            wait_exit(pid, max(0.0, deadline - time.monotonic()))
        assert not self.processes()
        assert not self.directories()

    def _find_processes(self) -> dict[int, str]:
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if f"{self._directory}/" in line:
                    found[int(entry.name)] = line.strip()
        return found

    def _find_directories(self) -> set[Path]:
        found = {path for path in self._directory.iterdir() if path.is_dir()}
        named = self._directory / "oarlock"
        if named in found:
            found.remove(named)
            found |= {path for path in named.iterdir() if path.is_dir()}
        return found


@pytest.fixture
def leaks(runtime_directory: Path) -> Iterator[Leaks]:
    """Fails a test that leaves a process or a directory of a cluster behind."""
    found = Leaks(runtime_directory)
    yield found
    found.check()


def wait_exit(pid: int, timeout: float) -> bool:
    """Wait until a process, of whatever parent, has ended; whether it did in `timeout` seconds."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], timeout)[0])
    finally:
        os.close(handle)


@pytest.fixture(name="wait_exit")
def _wait_exit() -> Callable[[int, float], bool]:
    """`wait_exit` for tests that cannot import it."""
    return wait_exit


@pytest.fixture
def typed() -> Callable[..., dict[str, Any]]:
    """Runs source as if typed in a client's ``__main__``; gives its globals."""

    def run(source: str, **names: Any) -> dict[str, Any]:
        space = {"__name__": "__main__", **names}
        # Without this module's own `from __future__` statements.
        exec(compile(source, "<typed>", "exec", dont_inherit=True), space)
        return space

    return run
