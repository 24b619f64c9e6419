"""A map while every role of its cluster is killed, stopped, and cut off from the others.

Controller, engines and clients each have a namespace of their own (see `network`). What happens to
them is a schedule that a seed makes; `OARLOCK_SEED=7 make test-python ARGS="-k chaos_network"` runs
one schedule again. The log of what was done is printed when it fails.
"""

import collections
import os
import random
import select
import signal
import subprocess
import sys
import time

import pytest

from oarlock.cluster import registry

from .network import HERE, Network, need_cuts, run

ITEMS = 20_000
# Something happens after so many results, on average.
STEP = 1_500
RETRIES = 8
NAME = "stormy"
ENGINES = ("engine0", "engine1", "engine2")
#: Seconds of silence after which somebody is lost.
LOST = 2.0
#: Seconds for which somebody is away who is all that goes on: not missed, missed, given up.
AWAY = (0.2, LOST / 2, LOST + 1.0)
#: Seconds in which there must be news.
PATIENCE = 60

#: Prints how many results there are meanwhile and, when each item has had one outcome, how many of
#: these were given up since three engines ended under them, which a schedule may bring about.
MAPPER = """
import sys, oarlock

def work(item):
    import os
    file = os.open(sys_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, f"{item}\\n".encode())
    os.close(file)
    return -item

sys_path, items, retries = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
with oarlock.Client(sys.argv[1]) as rc:
    rc.wait_for_engines(1, timeout=60)
    view = rc.load_balanced_view(retries=retries)
    result = view.map_async(work, range(items), ordered=False, return_exceptions=True)
    seen, given_up = [], 0
    print("submitted", flush=True)
    for value in result:
        if isinstance(value, oarlock.PoisonTask):
            given_up += 1
        elif isinstance(value, Exception):
            raise value
        else:
            seen.append(-value)
        if (len(seen) + given_up) % 100 == 0:
            print(len(seen) + given_up, flush=True)
    once = len(set(seen)) == len(seen) == items - given_up and set(seen) <= set(range(items))
    print("each once" if once else "not each once", given_up, flush=True)
"""


@pytest.fixture(scope="module", autouse=True)
def _cuts():
    need_cuts()


class Stormy:
    """A cluster each role of which has a namespace of its own, and what happens to it."""

    def __init__(self, directory, seed):
        self.random, self.log = random.Random(seed), [f"seed {seed}"]
        self.directory, self.file = directory, str(directory / "stormy.json")
        self.network = Network(*ENGINES, "client", "other")
        self.network.lay()
        self.processes = []
        self.start()
        self.engines = {name: self.engine(name) for name in ENGINES}
        self.cut, self.stopped = set(), set()

    def say(self, text):
        self.log.append(f"{time.monotonic():.1f} {text}")

    def start(self):
        """Start a controller, the first or another in its place."""
        lost = ["--suspect-after", "1", "--lost-after", f"{LOST}", "--lease", "60"]
        listen = ["--listen", f"{HERE}:0", "--connection-file", self.file]
        run(*self.network.inside(self.network.here, sys.executable, "-m", "oarlock", "start"),
            "-n", "0", "--daemonize", "--cluster-id", NAME, *lost, *listen)  # fmt: skip

    def there(self, name, *command, **options):
        inside = self.network.inside(self.network.there[name], sys.executable, *command)
        self.processes.append(subprocess.Popen(inside, **options))
        return self.processes[-1]

    def engine(self, name):
        return self.there(name, "-m", "oarlock.engine", self.file, stdin=subprocess.DEVNULL)

    def mapper(self, name, items):
        words = (self.file, str(self.directory / f"marks of {name}"), str(items), str(RETRIES))
        # Not buffered, so that what waits for news sees all there is.
        return self.there(name, "-c", MAPPER, *words, stdout=subprocess.PIPE, bufsize=0)

    def strike(self):
        """Do one thing, chosen at random."""
        kind = self.random.random()
        if kind < 0.25:
            self._strike_the_controller()
        elif kind < 0.45:
            self._strike_the_client()
        elif kind < 0.55:
            self._kill_another_client()
        else:
            self._strike_an_engine()

    def _strike_the_controller(self):
        (record,) = registry.list_clusters()
        if self.random.random() < 0.5:
            return self._stop("controller", record.pid)
        self.say("SIGKILL to the controller")
        handle = os.pidfd_open(record.pid)
        os.kill(record.pid, signal.SIGKILL)
        select.select([handle], [], [], 20)
        os.close(handle)
        self.start()
        return None

    def _strike_the_client(self):
        if self.random.random() < 0.4:
            return self._stop("client", self.client.pid)
        away, ends = self.random.choice(AWAY), self._ends()
        self.say(f"cut off the client for {away} s, at {ends}")
        self.network.cut(*ends, name="client")
        time.sleep(away)
        self.network.mend("client")
        return None

    def _kill_another_client(self):
        self.say("SIGKILL to another client that has submitted")
        other = self.mapper("other", 50)
        with other.stdout:
            assert self.line(other) == "submitted"
            other.kill()
            other.wait()

    def _strike_an_engine(self):
        away = self.cut | self.stopped
        if away and self.random.random() < 0.5:
            return self._mend(self.random.choice(sorted(away)))
        there = sorted(set(ENGINES) - away)
        if len(there) < 2:
            return self.say("spare the last engine")
        name, kind = self.random.choice(there), self.random.random()
        if kind < 0.4:
            self.say(f"SIGKILL to {name}, and another")
            self.engines[name].kill()
            self.engines[name].wait()
            self.engines[name] = self.engine(name)
        elif kind < 0.6:
            self.say(f"SIGSTOP to {name}")
            self.engines[name].send_signal(signal.SIGSTOP)
            self.stopped.add(name)
        else:
            ends = self._ends()
            self.say(f"cut off {name}, at {ends}")
            self.network.cut(*ends, name=name)
            self.cut.add(name)
        return None

    def _mend(self, name):
        self.say(f"let {name} go on")
        if name in self.cut:
            self.network.mend(name)
            self.cut.remove(name)
        else:
            self.engines[name].send_signal(signal.SIGCONT)
            self.stopped.remove(name)

    def _ends(self):
        """Where a cable is cut: in both directions or in one."""
        return self.random.choice([("here", "there"), ("here",), ("there",)])

    def _stop(self, what, pid):
        away = self.random.choice(AWAY)
        self.say(f"SIGSTOP to the {what} for {away} s")
        os.kill(pid, signal.SIGSTOP)
        time.sleep(away)
        os.kill(pid, signal.SIGCONT)

    def line(self, process):
        """The next line that a process prints."""
        assert select.select([process.stdout], [], [], PATIENCE)[0], "no news"
        return process.stdout.readline().decode().strip()

    def calm(self):
        """Let everybody go on."""
        for name in sorted(self.cut | self.stopped):
            self._mend(name)

    def end(self):
        self.calm()
        run(sys.executable, "-m", "oarlock", "stop", NAME, check=False)
        for process in self.processes:
            process.kill()
            process.wait()
        self.network.take_up()


@pytest.fixture
def stormy(leaks, tmp_path):
    seed = int(os.environ.get("OARLOCK_SEED") or random.randrange(10**6))
    cluster = Stormy(tmp_path, seed)
    yield cluster
    cluster.end()
    leaks.check()


@pytest.mark.timeout(240)
def test_a_map_is_whole_whoever_is_killed_stopped_or_cut_off(stormy):
    client = stormy.client = stormy.mapper("client", ITEMS)
    next_strike = STEP
    try:
        with client.stdout:
            while (said := stormy.line(client)).isdigit() or said == "submitted":
                if said.isdigit() and int(said) >= next_strike:
                    stormy.strike()
                    next_strike += stormy.random.randrange(1, 2 * STEP)
    finally:
        stormy.calm()
        print(*stormy.log, sep="\n")
    outcome, _, given_up = said.rpartition(" ")
    assert outcome == "each once"
    with open(stormy.directory / "marks of client") as lines:
        begun = collections.Counter(map(int, lines))
    # An engine may have been killed between the beginning of an item and its mark.
    assert len(set(range(ITEMS)) - set(begun)) <= int(given_up)
    assert set(begun) <= set(range(ITEMS))
    assert max(begun.values()) <= 1 + RETRIES
