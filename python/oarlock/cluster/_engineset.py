"""Engines that were started together."""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from oarlock import _oarlock

# Seconds an engine has to end after it was asked, and after it was killed.
_POLITE = 3.0
_KILLED = 2.0
# Between two looks at whether a start failed.
_LOOK = 0.1


class EngineSet:
    """The engine processes of one `start_engines`, and those that replace them.

    Args:
        core: The session that spawned them and hears of their joining and leaving.
        seats: Their seats: one for each process that was started, and its successors.

    Attributes:
        id: Names the set within its cluster.
        seats: As given.
    """

    def __init__(self, core: _oarlock.Client, seats: list[int]) -> None:
        self.id = os.urandom(4).hex()
        self.seats = tuple(seats)
        self._core = core

    def __repr__(self) -> str:
        return f"<EngineSet({self.id!r}, pids={list(self.pids)})>"

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that run now."""
        return tuple(pid for pid, _ in self._core.seats(self.seats) if pid is not None)

    def ids(self) -> list[int]:
        """Ids of the engines of this set that live now."""
        pids = self.pids
        return [number for number, _, pid, _ in self._core.engines() if pid in pids]

    def missing(self) -> list[int]:
        """Seats that wait for an engine: the first, or one that joins anew.

        One whose engine ended does not: it was there, and its end is told otherwise.
        """
        looks = zip(self.seats, self._core.seats(self.seats), strict=True)
        strangers = self._strangers()
        return [seat for seat, (pid, joined) in looks if not joined or pid in strangers]

    def signal(self, number: int) -> None:
        """Send a signal to each process of the set."""
        ids = self.ids()
        if ids:
            self._core.request("signal", (ids, number))
        for pid in self._strangers():
            _signal_child(pid, number)

    def stop(self) -> None:
        """End the processes: ask, and kill what does not go; returns when they are gone."""
        self._core.retire(self.seats)
        ids = self.ids()
        if ids:
            self._core.request("shutdown", ids)
        for pid in self._strangers():
            # One that was stopped and given up does not hear anything less.
            _signal_child(pid, signal.SIGKILL)
        # An engine is gone when nobody sees it any more, which is a moment after its process is.
        asked = set(ids)
        self._see_off(lambda: list({*self.ids(), *asked.intersection(self._core.engine_ids())}))

    def end(self, engine: int) -> None:
        """End one engine as `stop` does."""
        self._core.request("shutdown", [engine])
        self._see_off(lambda: [one for one in self._core.engine_ids() if one == engine])

    def restart(self, engines: list[int], limit: float) -> list[int]:
        """End engines of this set and have others started in their places.

        Args:
            engines: Their ids.
            limit: Seconds until the others have to be there.

        Returns:
            The ids of those that took their places, in order.

        Raises:
            EngineError: One did not become ready.
            TimeoutError: They took longer.
        """
        deadline = time.monotonic() + limit
        failures = len(self._core.spawned_failures())
        seats = self._seats_of(engines)
        if engines:
            self._core.request("restart", engines)
        self._see_off(lambda: [one for one in self.ids() if one in engines])
        while True:
            version = self._core.engines_version()
            new = self._engines_in(seats)
            if len(new) == len(seats):
                return new
            failed = self._core.spawned_failures()[failures:]
            left = deadline - time.monotonic()
            if failed or left <= 0:
                from oarlock import error

                if failed:
                    raise error.EngineError(f"an engine could not be restarted: {failed[0]}")
                raise error.TimeoutError(
                    f"{len(new)} of {len(seats)} engines were ready again after {limit:g} s"
                )
            # A start that fails changes no list of engines.
            self._core.wait_engines_change(version, min(left, _LOOK))

    def _seats_of(self, engines: list[int]) -> list[int]:
        processes = {pid: number for number, _, pid, _ in self._core.engines()}
        looks = zip(self.seats, self._core.seats(self.seats), strict=True)
        seats = {processes.get(pid): seat for seat, (pid, _) in looks if pid is not None}
        return [seats[engine] for engine in engines if engine in seats]

    def _engines_in(self, seats: list[int]) -> list[int]:
        """The engines that sit in these seats now, without those that are vacant."""
        engines = {pid: number for number, _, pid, _ in self._core.engines()}
        there = [pid for pid, _ in self._core.seats(seats)]
        return [engines[pid] for pid in there if pid in engines]

    def _strangers(self) -> list[int]:
        """Processes that are no engine: not yet, or not any more."""
        engines = {pid for _, _, pid, _ in self._core.engines()}
        return [pid for pid in self.pids if pid not in engines]

    def _see_off(self, remaining: Callable[[], list[int]]) -> None:
        """Wait until engines that were asked to end are gone; kill those that are slow."""
        if not self._wait_gone(remaining, _POLITE):
            engines = remaining()
            if engines:
                with contextlib.suppress(RuntimeError):  # they have just ended
                    self._core.request("signal", (engines, signal.SIGKILL))
            self._wait_gone(remaining, _KILLED)

    def _wait_gone(self, remaining: Callable[[], list[int]], timeout: float) -> bool:
        """Wait until none of them is left; whether that happened in `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            version = self._core.engines_version()
            if not remaining():
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
