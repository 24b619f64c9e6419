"""The steps of a cluster's life by hand, each as a coroutine and as its blocking twin."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

import oarlock

from .conftest import PATIENCE

SLOW_ENGINES = """
import sys, time
if any("oarlock.engine" in word for word in sys.orig_argv):
    time.sleep(50)
"""


@pytest.fixture(params=["coroutine", "twin"])
def do(request):
    """``do(cluster.name, ...)`` awaits the coroutine in one loop, or calls the twin."""
    if request.param == "twin":
        yield lambda method, *args, **kwargs: getattr(method.__self__, f"{method.__name__}_sync")(
            *args, **kwargs
        )
        return
    with asyncio.Runner() as runner:

        async def wait_for(coroutine):
            async with asyncio.timeout(PATIENCE):
                return await coroutine

        yield lambda method, *args, **kwargs: runner.run(wait_for(method(*args, **kwargs)))


@pytest.fixture
def cluster(leaks):
    """A cluster that was not started; it leaves nothing whatever a test does to it."""
    made = oarlock.Cluster(n=1)
    yield made
    made.stop_cluster_sync()
    leaks.check()


def pids(client):
    """Processes of the engines of a client, by id."""
    return client[:].apply_async(os.getpid).get_dict(timeout=PATIENCE)


def test_a_controller_runs_alone_until_engines_are_started(do, cluster):
    assert do(cluster.start_controller) is None
    assert cluster.controller is not None
    assert Path(cluster.directory).is_dir()
    assert (cluster.engines, cluster.engine_set) == ({}, None)
    rc = do(cluster.connect_client)
    assert rc.ids == []
    with pytest.raises(oarlock.NoEnginesRegistered):
        rc[:].apply_async(abs, -1)
    first = do(cluster.start_engines, 2)
    do(cluster.wait_for_engines)
    assert rc.ids == [0, 1]
    assert cluster.engines[first].ids() == [0, 1]
    assert set(pids(rc).values()) == set(cluster.engines[first].pids)


def test_a_controller_is_started_once(do, cluster):
    do(cluster.start_controller)
    controller, directory = cluster.controller, cluster.directory
    with pytest.raises(RuntimeError, match="already runs"):
        do(cluster.start_controller)
    with pytest.raises(RuntimeError, match="already runs"):
        do(cluster.start_cluster)
    assert (cluster.controller, cluster.directory) == (controller, directory)
    assert Path(directory).is_dir()


def test_stopping_the_controller_ends_engines_and_waits_and_may_be_repeated(
    do, cluster, wait_exit, gate
):
    rc = do(cluster.start_and_connect)
    engines, directory = pids(rc), Path(cluster.directory)
    pending = rc[0].apply_async(gate.hold)
    gate.wait_begun()
    assert do(cluster.stop_controller) is None
    assert all(wait_exit(pid, PATIENCE) for pid in engines.values())
    assert not directory.exists()
    assert (cluster.controller, cluster.directory, cluster.engines) == (None, None, {})
    with pytest.raises(oarlock.OarlockError):
        pending.get(timeout=PATIENCE)
    do(cluster.stop_controller)
    do(cluster.start_controller)
    assert cluster.controller is not None


def test_starting_a_cluster_gives_itself_with_its_engines_on_their_way(do, cluster):
    assert do(cluster.start_cluster) is cluster
    assert len(cluster.engine_set.pids) == cluster.n == 1
    do(cluster.wait_for_engines)
    assert do(cluster.connect_client).ids == [0]


def test_starting_a_cluster_takes_a_number_of_engines(do, cluster):
    do(cluster.start_cluster, 2)
    assert len(cluster.engine_set.pids) == 2
    do(cluster.stop_cluster)
    do(cluster.start_cluster, n=0)
    assert cluster.engine_set.pids == ()
    with pytest.raises(ValueError, match="number of engines"):
        do(cluster.start_engines, -1)


def test_connecting_gives_a_client_that_keeps_the_cluster_and_further_ones_when_asked(do, cluster):
    do(cluster.start_cluster)
    do(cluster.wait_for_engines)
    rc = do(cluster.connect_client)
    for options in ({}, {"timeout": 5}):
        other = do(cluster.connect_client, **options)
        assert other.cluster is rc.cluster is cluster
        assert other.session != rc.session
        assert other[0].apply_sync(abs, -1) == 1
        other.close()
    assert rc[0].apply_sync(abs, -1) == 1


def test_connecting_needs_a_running_cluster(do, cluster):
    with pytest.raises(RuntimeError, match="hint: call start_cluster_sync"):
        do(cluster.connect_client)
    do(cluster.start_cluster)
    do(cluster.stop_cluster)
    with pytest.raises(RuntimeError, match="hint: call start_cluster_sync"):
        do(cluster.connect_client)


def test_stopping_a_cluster_leaves_nothing_and_may_be_repeated(do, cluster, leaks, wait_exit):
    do(cluster.stop_cluster)  # before any start is no mistake either
    rc = do(cluster.start_and_connect, 2)
    engines = pids(rc)
    do(cluster.stop_cluster)
    assert all(wait_exit(pid, PATIENCE) for pid in engines.values())
    assert cluster.controller is None
    leaks.check()
    do(cluster.stop_cluster)
    with pytest.raises(ConnectionError):
        rc[:].apply_sync(abs, -1)


def test_a_signal_reaches_all_engines_or_those_of_one_set(do, cluster):
    rc = do(cluster.start_and_connect)
    second = do(cluster.start_engines, 1)
    do(cluster.wait_for_engines)
    count = "import signal\ngot = []\nsignal.signal(signal.SIGUSR1, lambda *_: got.append(1))"
    rc[:].execute(count, block=True)

    def told(engine, times):
        # In the engine, where the signal's handler runs.
        wait = f"""if True:
            import time
            end = time.monotonic() + {PATIENCE}
            while len(got) < {times} and time.monotonic() < end:
                time.sleep(0.002)
        """
        rc[engine].execute(wait, block=True)
        return rc[engine]["got"] == [1] * times

    do(cluster.signal_engines, signal.SIGUSR1, second)
    assert told(1, 1)
    assert rc[0]["got"] == []
    do(cluster.signal_engines, signal.SIGUSR1)
    assert told(0, 1)
    assert told(1, 2)
    with pytest.raises(KeyError, match="no engine set 'nobody'"):
        do(cluster.signal_engines, signal.SIGUSR1, "nobody")
    with pytest.raises(ValueError, match="999"):
        do(cluster.signal_engines, 999)


def test_a_signal_reaches_engines_that_are_not_ready_yet(do, cluster, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(SLOW_ENGINES)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    do(cluster.start_cluster)
    do(cluster.signal_engines, signal.SIGKILL)
    with pytest.raises(oarlock.EngineError, match="SIGKILL"):
        do(cluster.wait_for_engines)


def test_stopped_engines_are_gone_and_the_controller_stays(do, cluster, wait_exit):
    rc = do(cluster.start_and_connect, 2)
    engines = pids(rc)
    do(cluster.stop_engines)
    assert all(wait_exit(pid, PATIENCE) for pid in engines.values())
    assert rc.ids == []
    assert cluster.engines == {}
    do(cluster.start_engines, 1)
    do(cluster.wait_for_engines)
    assert rc[:].apply_sync(abs, -1) == [1]
