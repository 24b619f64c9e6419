"""Engines that were started together."""

import contextlib
import os
import signal
import time
from pathlib import Path

from oarlock import _oarlock

# Seconds an engine has to end after it was asked, and after it was killed.
_POLITE = 3.0
_KILLED = 2.0


class EngineSet:
    """The engine processes of one `start_engines`.

    Args:
        core: The session that spawned them and hears of their joining and leaving.
        pids: Their processes.

    Attributes:
        id: Names the set within its cluster.
        pids: The processes that were started.
    """

    def __init__(self, core: _oarlock.Client, pids: list[int]) -> None:
        self.id = os.urandom(4).hex()
        self.pids = tuple(pids)
        self._core = core
        self._joined: set[int] = set()

    def __repr__(self) -> str:
        return f"<EngineSet({self.id!r}, pids={list(self.pids)})>"

    def ids(self) -> list[int]:
        """Ids of the engines of this set that live now."""
        return [number for number, _, pid, _ in self._core.engines() if pid in self.pids]

    def missing(self) -> list[int]:
        """Processes that have not joined yet (one that joined and left is not missing)."""
        self._joined.update(pid for _, _, pid, _ in self._core.engines())
        return [pid for pid in self.pids if pid not in self._joined]

    def signal(self, number: int) -> None:
        """Send a signal to each process of the set."""
        ids = self.ids()
        if ids:
            self._core.request("signal", (ids, number))
        for pid in self.missing():
            _signal_child(pid, number)

    def stop(self) -> None:
        """End the processes: ask, and kill what does not go; returns when they are gone."""
        ids = self.ids()
        if ids:
            self._core.request("shutdown", ids)
        for pid in self.missing():
            _signal_child(pid, signal.SIGTERM)
        if not self._wait_gone(_POLITE):
            self.signal(signal.SIGKILL)
            self._wait_gone(_KILLED)

    def _wait_gone(self, timeout: float) -> bool:
        """Wait until no engine of the set is left; whether that happened in `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            version = self._core.engines_version()
            if not self.ids():
                return True
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._core.wait_engines_change(version, left)


def _signal_child(pid: int, number: int) -> None:
    """Signal a child of this process; a process that only inherited the pid is left alone."""
    with contextlib.suppress(OSError, IndexError):
        parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
        if int(parent) == os.getpid():
            os.kill(pid, number)
