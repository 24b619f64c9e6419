"""A map while its engines are killed, stopped and replaced, by a schedule that a seed makes.

`OARLOCK_SEED=7 make test-python ARGS="-k chaos"` runs one schedule again; the log of what was done
is printed when it fails.
"""

import collections
import contextlib
import os
import random
import signal

import oarlock

ITEMS = 20_000
# Something happens after so many results, on average.
STEP = 1_000
RETRIES = 5


class Chaos:
    """What happens to the engines of a cluster."""

    def __init__(self, rc, seed):
        self.rc, self.random = rc, random.Random(seed)
        self.stopped, self.killed = [], []
        self.log = [f"seed {seed}"]

    def _pids(self):
        return {engine: pid for engine, _, pid, _ in self.rc._core.engines()}

    def _signal(self, engine, number):
        self.log.append(f"{signal.Signals(number).name} to engine {engine}")
        # It may have ended since, or its end not be known yet.
        with contextlib.suppress(KeyError, ProcessLookupError):
            os.kill(self._pids()[engine], number)

    def strike(self):
        """Do one thing, chosen at random."""
        # The end of one that was killed may not be known yet; one at least is to go on.
        away = self.stopped + self.killed
        there = [engine for engine in self.rc.ids if engine not in away]
        if self.stopped and self.random.random() < 0.5:
            self._signal(self.stopped.pop(), signal.SIGCONT)
        elif len(there) < 2:
            self.log.append("spare the last")
        elif self.random.random() < 0.6:
            self.killed.append(self.random.choice(there))
            self._signal(self.killed[-1], signal.SIGKILL)
        else:
            engine = self.random.choice(there)
            self.stopped.append(engine)
            self._signal(engine, signal.SIGSTOP)

    def end(self):
        """Let everything go on."""
        while self.stopped:
            self._signal(self.stopped.pop(), signal.SIGCONT)


def test_a_map_is_whole_whatever_happens_to_its_engines(tmp_path):
    path = str(tmp_path / "marks")

    def work(item):
        import os

        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, f"{item}\n".encode())
        os.close(file)
        return item

    seed = int(os.environ.get("OARLOCK_SEED") or random.randrange(10**6))
    with oarlock.Cluster(n=3, restart=True, suspect_after=1.0, lost_after=2.0) as rc:
        chaos = Chaos(rc, seed)
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
