"""The process under load: a client, and with an embedded cluster its controller too.

``python -m benchmarks.soak.rig embedded SEED`` or ``... CLUSTER_ID SEED``. It says in one line of
JSON who is to be weighed. For each number that it reads it works for so many seconds, comes to
rest, and says what it did and what went wrong; at the end of its input it ends. SIGUSR1 shows its
threads.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from importlib.util import find_spec
from random import Random
from typing import Any

import oarlock

from . import steps
from .harm import Harm

EMBEDDED = "embedded"
#: Engines of a cluster, and threads that work on it at a time.
ENGINES = 3
THREADS = 2
#: Seconds that a cluster may take to be there.
START = 60.0


class Crew:
    """Threads that take one step after the other."""

    def __init__(self, site: steps.Site, seed: int) -> None:
        """`seed` decides which steps each thread takes."""
        self.site = site
        self._chances = [Random(f"{seed} {number}") for number in range(THREADS)]
        usable = {step: often for step, often in steps.STEPS.items() if _usable(step)}
        self._steps, self._often = list(usable), list(usable.values())
        self.steps = self.tasks = 0
        self.failures: list[str] = []
        self._lock = threading.Lock()

    def work(self, seconds: float) -> None:
        """Take steps for so long, and end the last."""
        until = time.monotonic() + seconds
        crew = [
            threading.Thread(target=self._work, args=(until, chance)) for chance in self._chances
        ]
        for one in crew:
            one.start()
        for one in crew:
            one.join()

    def _work(self, until: float, chance: Random) -> None:
        while time.monotonic() < until:
            (step,) = chance.choices(self._steps, self._often)
            tasks, failure = 0, None
            try:
                tasks = step(self.site, chance)
            except BaseException:
                failure = f"{step.__name__}: {traceback.format_exc(limit=-6)}"
            with self._lock:
                self.steps += 1
                self.tasks += tasks
                if failure is not None:
                    self.failures.append(f"step {self.steps}, {failure}")


def _usable(step: Any) -> bool:
    return step is not steps.arrays or find_spec("numpy") is not None


@contextlib.contextmanager
def cluster(where: str) -> Iterator[oarlock.Client]:
    """A client of a cluster of its own, or of one that is about to start."""
    if where == EMBEDDED:
        with oarlock.Cluster(n=ENGINES, restart=True, suspect_after=1.0, lost_after=2.0) as rc:
            yield rc
        return
    with steps.come(cluster_id=where) as rc:
        rc.wait_for_engines(ENGINES, timeout=START)
        yield rc


def main(where: str, seed: str) -> None:
    """Serve the one who started this."""
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    with cluster(where) as rc:
        spared = rc.ids[0]
        site = steps.Site(rc, spared, Harm())
        crew = Crew(site, int(seed))
        tell({"own": os.getpid(), "engine": rc.engine_status(spared)["pid"]})
        for line in sys.stdin:
            crew.work(float(line))
            failures, crew.failures = crew.failures, []
            if not rc.wait(timeout=steps.DEADLINE):
                failures.append("tasks are left that no step waits for")
            site.harm.end()
            gc.collect()
            # What was freed in arenas of threads is no leak.
            ctypes.CDLL(None).malloc_trim(0)
            tell(
                {
                    "steps": crew.steps,
                    "tasks": crew.tasks,
                    "harm": site.harm.done,
                    "failures": failures,
                }
            )


def tell(what: dict[str, Any]) -> None:
    """Say it in one line."""
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
