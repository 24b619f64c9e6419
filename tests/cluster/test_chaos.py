"""A map while its engines, or its controller too, are killed, stopped and replaced.

What happens is a schedule that a seed makes.

`OARLOCK_SEED=7 make test-python ARGS="-k chaos"` runs one schedule again; the log of what was done
is printed when it fails.
"""

import collections
import contextlib
import os
import random
import select
import signal
import subprocess
import sys

import pytest

import oarlock
from oarlock.cluster import registry

ITEMS = 20_000
# Something happens after so many results, on average.
STEP = 1_000
RETRIES = 5


# Seconds without a sign of life after which an engine is lost.
LOST = 2.0


class Alone:
    """A cluster of its own process, whose controller can be killed as well."""

    name = "chaos"
    command = (
        *(sys.executable, "-m", "oarlock", "start", "-n", "3", "--daemonize", "--restart"),
        *("--cluster-id", name, "--suspect-after", "1", "--lost-after", f"{LOST}"),
    )

    def start(self):
        done = subprocess.run(self.command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr

    def __enter__(self):
        self.start()
        return oarlock.Client(cluster_id=self.name)

    def __exit__(self, *_):
        stop = [sys.executable, "-m", "oarlock", "stop", self.name]
        assert subprocess.run(stop, capture_output=True, timeout=60, check=False).returncode == 0

    def controller(self):
        (record,) = registry.list_clusters()
        return record.pid


class Chaos:
    """What happens to the engines of a cluster, and to its controller if it is `alone`."""

    def __init__(self, rc, seed, alone=None):
        self.rc, self.random, self.alone = rc, random.Random(seed), alone
        self.stopped, self.killed = {}, []
        self.log = [f"seed {seed}"]

    def _pid(self, engine):
        pids = [pid for number, _, pid, _ in self.rc._core.engines() if number == engine]
        # It may have ended since; then nothing is to hear the signal.
        return pids[0] if pids else None

    def _signal(self, engine, pid, number):
        self.log.append(f"{signal.Signals(number).name} to engine {engine}")
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _resume_one(self):
        engine, pid = self.stopped.popitem()
        self._signal(engine, pid, signal.SIGCONT)

    def _strike_the_controller(self):
        pid = self.alone.controller()
        if self.random.random() < 0.5:
            self.log.append("SIGSTOP and SIGCONT to the controller")
            os.kill(pid, signal.SIGSTOP)
            os.kill(pid, signal.SIGCONT)
            return
        self.log.append("SIGKILL to the controller")
        handle = os.pidfd_open(pid)
        os.kill(pid, signal.SIGKILL)
        select.select([handle], [], [], 20)
        os.close(handle)
        # Those that are stopped would be waited for.
        self.end()
        self.alone.start()

    def strike(self):
        """Do one thing, chosen at random."""
        if self.alone is not None and self.random.random() < 0.3:
            return self._strike_the_controller()
        # The end of one that was killed may not be known yet; one at least is to go on.
        away = [*self.stopped, *self.killed]
        there = [engine for engine in self.rc.ids if engine not in away]
        if self.stopped and self.random.random() < 0.5:
            self._resume_one()
        elif len(there) < 2:
            self.log.append("spare the last")
        elif self.random.random() < 0.6:
            self.killed.append(self.random.choice(there))
            self._signal(self.killed[-1], self._pid(self.killed[-1]), signal.SIGKILL)
        else:
            engine = self.random.choice(there)
            self.stopped[engine] = self._pid(engine)
            self._signal(engine, self.stopped[engine], signal.SIGSTOP)
        return None

    def end(self):
        """Let everything go on."""
        while self.stopped:
            self._resume_one()


@pytest.fixture
def embedded():
    return oarlock.Cluster(n=3, restart=True, suspect_after=1.0, lost_after=LOST), None


@pytest.fixture
def standalone(leaks):
    alone = Alone()
    return alone, alone


@pytest.mark.parametrize("kind", ["embedded", "standalone"])
def test_a_map_is_whole_whatever_happens_to_its_engines(kind, tmp_path, request):
    cluster, alone = request.getfixturevalue(kind)
    path = str(tmp_path / "marks")

    def work(item):
        import os

        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, f"{item}\n".encode())
        os.close(file)
        return item

    seed = int(os.environ.get("OARLOCK_SEED") or random.randrange(10**6))
    with cluster as rc, contextlib.closing(rc) if alone else contextlib.nullcontext():
        chaos = Chaos(rc, seed, alone)
        result = rc.load_balanced_view(retries=RETRIES).map_async(work, range(ITEMS), ordered=False)
        values, next_strike = [], STEP
        try:
            for value in result:
                values.append(value)
                if len(values) == next_strike:
                    chaos.strike()
                    next_strike += chaos.random.randrange(1, 2 * STEP)
        finally:
            chaos.end()
            print(*chaos.log, sep="\n")
        assert sorted(values) == list(range(ITEMS)), "each item once"
        assert result.successful()
    with open(path) as lines:
        begun = collections.Counter(map(int, lines))
    assert set(begun) == set(range(ITEMS))
    assert max(begun.values()) <= 1 + RETRIES
    kills = sum("SIGKILL" in line for line in chaos.log)
    # Only what an engine had begun and could not tell any more is run again: not all it was given.
    assert sum(begun.values()) - ITEMS <= 300 * kills
