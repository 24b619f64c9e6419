"""Networks that fail between a controller and who is behind its gate (see `network`). What follows
from a loss is counted in executions and outcomes.
"""

import collections
import os
import signal
import subprocess
import sys
import time

import pytest

import oarlock
from oarlock import error
from oarlock.cluster import registry

from .far import connections, port_of
from .marking import marking
from .network import HERE, Network, need, need_cuts, run
from .waiting import PATIENCE, wait_until

NAME = "parted"
#: Seconds of silence after which this cluster gives up who is silent.
LOST = 3.0


@pytest.fixture(scope="module", autouse=True)
def _cuts():
    need_cuts()


@pytest.fixture(scope="module")
def resets():
    """A rule of nftables that resets connections."""
    rule = "meta l4proto tcp reject with tcp reset"
    need(("ip", "nft"), lambda network: network.rule("there", rule, ("here",)))
    return rule


@pytest.fixture(scope="module")
def _losses():
    # nftables have no rule for it in many kernels.
    need(("iptables-legacy",), lambda network: network.lose(1))


class Parted:
    """A controller without engines of its own; one engine there, and clients there."""

    def __init__(self, directory, lease=40):
        self.network = Network()
        self.file = str(directory / "parted.json")
        self.network.lay()
        self.processes = []
        lost = ["--suspect-after", "1", "--lost-after", f"{LOST}", "--lease", f"{lease}"]
        listen = ["--listen", f"{HERE}:0", "--connection-file", self.file]
        start = ["start", "-n", "0", "--daemonize", "--cluster-id", NAME]
        run(*self.network.inside(self.network.here, sys.executable, "-m", "oarlock"),
            *start, *lost, *listen)  # fmt: skip
        (self.record,) = registry.list_clusters()
        self.engine()

    def connections(self):
        """Connections that the gate has, as the kernel knows them."""
        return connections(self.record.pid, port_of(self.file))

    def there(self, *command, **options):
        process = subprocess.Popen(
            self.network.inside(self.network.there["there"], sys.executable, *command),
            text=True,
            **options,
        )
        self.processes.append(process)
        return process

    def engine(self, *options):
        return self.there("-m", "oarlock.engine", self.file, *options, stdin=subprocess.DEVNULL)

    def end(self):
        self.network.mend()
        run(sys.executable, "-m", "oarlock", "stop", NAME, check=False)
        for process in self.processes:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()
        self.network.take_up()


@pytest.fixture
def parted(leaks, tmp_path):
    cluster = Parted(tmp_path)
    yield cluster
    cluster.end()
    leaks.check()


@pytest.fixture
def rc(parted):
    """A client beside the controller, on its own host."""
    with oarlock.Client(cluster_id=NAME) as client:
        client.wait_for_engines(1, timeout=PATIENCE)
        yield client


def health(rc):
    ((_, status),) = rc.engine_status().items()
    return status


@pytest.mark.parametrize("sides", [("here", "there"), ("here",), ("there",)])
def test_a_partition_shorter_than_the_silence_loses_nothing(parted, rc, tmp_path, sides):
    mark, executions = marking(tmp_path, 0.01)
    engine = rc.ids
    results = rc.load_balanced_view().map(mark, range(300))
    wait_until(lambda: results.progress > 5, "it begins")
    parted.network.cut(*sides)
    # As long as it takes for the controller to look worried, if it is the one that hears nothing.
    if "here" in sides:
        wait_until(lambda: health(rc)["state"] == "suspect", "it looks worrying")
    else:
        # Nobody else sees that the engine hears nothing.
        time.sleep(LOST / 3)
    parted.network.mend()
    assert list(results.get(timeout=PATIENCE)) == [-item for item in range(300)]
    assert executions() == collections.Counter(range(300))
    assert rc.ids == engine


@pytest.mark.parametrize("sides", [("here", "there"), ("here",), ("there",)])
def test_an_engine_behind_a_longer_partition_is_lost_and_comes_back_as_a_new_one(
    parted, rc, tmp_path, sides
):
    mark, executions = marking(tmp_path, 0.01)
    (old,) = rc.ids
    view = rc.load_balanced_view(retries=2)
    results = view.map(mark, range(300))
    wait_until(lambda: results.progress > 5, "it begins")
    parted.network.cut(*sides)
    wait_until(lambda: rc.ids == [], "it is lost")
    parted.network.mend()
    assert list(results.get(timeout=PATIENCE)) == [-item for item in range(300)]
    assert old not in rc.ids
    assert len(rc.ids) == 1
    counts = executions()
    assert set(counts) == set(range(300))
    assert max(counts.values()) <= 3, "each at most as often as it may be tried"


@pytest.fixture
def hasty(leaks, tmp_path):
    """A cluster that is not waited for long when its controller is gone."""
    cluster = Parted(tmp_path, lease=1)
    yield cluster
    cluster.end()
    leaks.check()


def test_an_engine_looks_longer_for_a_controller_that_it_cannot_reach_than_for_one_that_is_gone(
    hasty,
):
    (patient,) = hasty.processes
    impatient = hasty.engine("1")
    with oarlock.Client(cluster_id=NAME) as rc:
        rc.wait_for_engines(2, timeout=PATIENCE)
        before = rc.ids
        hasty.network.cut()
        wait_until(lambda: rc.ids == [], "both are lost")
        assert impatient.wait(PATIENCE) == 1, "it was told to be content with the lease"
        assert patient.poll() is None
        hasty.network.mend()
        rc.wait_for_engines(1, timeout=PATIENCE)
        assert rc.ids[0] not in before
        assert rc[:].apply_sync(abs, -1) == [1]
    # Its host says so: nobody listens there any more.
    os.kill(hasty.record.pid, signal.SIGKILL)
    assert patient.wait(PATIENCE) == 1


def test_what_ran_through_a_partition_ends_once_and_its_late_answer_changes_nothing(
    parted, rc, gate
):
    task = rc[rc.ids[0]].apply(gate.hold, 7)
    gate.wait_begun()
    parted.network.cut()
    with pytest.raises(error.EngineError):
        task.get(timeout=PATIENCE)
    # It answers into the void, and is there again for others.
    gate.release()
    parted.network.mend()
    rc.wait_for_engines(1, timeout=PATIENCE)
    assert rc[rc.ids[0]].apply_sync(abs, -1) == 1
    with pytest.raises(error.EngineError):
        task.get()


CLIENT = """
import sys, oarlock
with oarlock.Client(sys.argv[1]) as rc:
    rc.wait_for_engines(1, timeout=60)
    print("connected", flush=True)
    result = rc.load_balanced_view().map(lambda i: -i, range(int(sys.stdin.readline())))
    print("submitted", flush=True)
    try:
        print(list(result.get(timeout=60)) == [-i for i in range(len(result))], flush=True)
    except Exception as failure:
        print(type(failure).__name__, str(failure).replace("\\n", " "), flush=True)
"""


def test_a_client_behind_a_partition_goes_on_whether_it_was_given_up_or_not(parted):
    client = parted.there("-c", CLIENT, parted.file, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert client.stdout.readline() == "connected\n"
    parted.network.cut()
    client.stdin.write("50\n")
    client.stdin.flush()
    assert client.stdout.readline() == "submitted\n", "into a cable that is cut"
    parted.network.mend()
    assert client.stdout.readline() == "True\n"
    client = parted.there("-c", CLIENT, parted.file, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert client.stdout.readline() == "connected\n"
    with oarlock.Client(cluster_id=NAME) as near:
        parted.network.cut()
        client.stdin.write("50\n")
        client.stdin.flush()
        assert client.stdout.readline() == "submitted\n"
        wait_until(lambda: near.ids == [], "the cable is cut for longer than is borne")
        wait_until(lambda: parted.connections() == 0, "the client is given up, too")
        parted.network.mend()
    assert client.stdout.readline() == "True\n", "it was given up, and came back"


@pytest.mark.usefixtures("_losses")
@pytest.mark.parametrize("percent", [1, 10])
def test_packets_that_are_lost_slow_things_down_and_lose_nothing(parted, rc, tmp_path, percent):
    mark, executions = marking(tmp_path)
    engine = rc.ids
    parted.network.lose(percent)
    results = rc.load_balanced_view().map(mark, range(500))
    assert list(results.get(timeout=PATIENCE)) == [-item for item in range(500)]
    large = os.urandom(1 << 20)
    assert rc[:].apply_sync(lambda data: data[::-1], large) == [large[::-1]]
    if percent == 1:
        assert executions() == collections.Counter(range(500))
        assert rc.ids == engine, "nobody is taken for lost"


def test_connections_that_are_reset_again_and_again_end_and_others_follow(
    parted, rc, tmp_path, resets
):
    mark, executions = marking(tmp_path, 0.01)
    results = rc.load_balanced_view(retries=20).map(mark, range(300))
    for done in (30, 60, 90, 120):
        # What three engines held when they were lost is not tried again, so each gets some done.
        wait_until(lambda: rc.ids and results.progress >= done, "an engine works")  # noqa: B023
        (engine,) = rc.ids
        parted.network.rule("there", resets, ("here",))
        wait_until(lambda: engine not in rc.ids, "its connections were reset")  # noqa: B023
        parted.network.mend()
    assert list(results.get(timeout=PATIENCE)) == [-item for item in range(300)]
    assert set(executions()) == set(range(300))


def test_an_engine_that_is_killed_behind_a_partition_is_lost_all_the_same(parted, rc):
    parted.network.cut()
    parted.processes[0].send_signal(signal.SIGKILL)
    wait_until(lambda: rc.ids == [], "it is lost")
    parted.network.mend()
    parted.engine()
    rc.wait_for_engines(1, timeout=PATIENCE)
    assert rc[:].apply_sync(abs, -1) == [1]
