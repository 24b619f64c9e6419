"""What is done to engines, all but the one that is spared."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .steps import Site


class Harm:
    """Kills, stops, continues and restarts engines, and counts it."""

    def __init__(self) -> None:
        """Nothing was done yet."""
        self.done = 0
        self._stopped: list[int] = []
        # Two threads that harm at a time would leave no engine to the others for long.
        self._lock = threading.Lock()

    def strike(self, site: Site, chance: Random) -> None:
        """Do one thing, chosen by chance."""
        from oarlock.error import OarlockError

        with self._lock:
            # An engine may have ended by the time that something is asked of it.
            with contextlib.suppress(OSError, OarlockError, RuntimeError):
                self._strike(site, chance)
            self.done += 1

    def _strike(self, site: Site, chance: Random) -> None:
        if self._stopped and chance.random() < 0.7:
            return self._goes_on()
        engines = site.rc.engine_status()
        engines.pop(site.spared, None)
        # What has just joined may not be known with its process yet.
        engines = {engine: of for engine, of in engines.items() if of["pid"] is not None}
        if not engines:
            return None
        engine = chance.choice(sorted(engines))
        pid = engines[engine]["pid"]
        what = chance.choice(["kill", "kill", "stop", "restart"])
        if what == "kill":
            os.kill(pid, signal.SIGKILL)
        elif what == "stop":
            self._stopped.append(pid)
            os.kill(pid, signal.SIGSTOP)
        else:
            site.rc.shutdown([engine], restart=True, block=False)
        return None

    def _goes_on(self) -> None:
        # Given up meanwhile, it may have been killed to make room for another.
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._stopped.pop(), signal.SIGCONT)

    def end(self) -> None:
        """Let everything go on."""
        while self._stopped:
            self._goes_on()
