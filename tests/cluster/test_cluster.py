"""`Cluster`: starting, connecting, stopping; blocking and with asyncio; saying what is wrong."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import signal
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import pytest

import oarlock

COROUTINES = [
    name
    for name, method in inspect.getmembers(oarlock.Cluster, inspect.iscoroutinefunction)
    if not name.startswith("_")
]


def pids(client):
    """Processes of the engines of a client, by id."""
    return client[:].apply_async(os.getpid).get_dict(timeout=20)


@pytest.fixture
def sick_engines(tmp_path, monkeypatch):
    """From now on every engine ends at its start, with some last words."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "if any('oarlock.engine' in word for word in sys.orig_argv):\n"
        "    raise SystemExit('this engine feels sick')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


# --- blocking


def test_a_with_block_yields_a_client_of_ready_engines_and_leaves_nothing(leaks, wait_exit):
    with oarlock.Cluster(n=2) as rc:
        assert isinstance(rc, oarlock.Client)
        assert rc.cluster.controller is not None
        assert rc.ids == [0, 1]
        engines = pids(rc)
        assert len(set(engines.values()) | {os.getpid()}) == 3
        directory = rc.cluster.directory
        assert Path(directory).stat().st_mode & 0o777 == 0o700
        cluster = rc.cluster
    assert all(wait_exit(pid, 5) for pid in engines.values())
    assert not Path(directory).exists()
    assert cluster.controller is None
    leaks.check()
    with pytest.raises(oarlock.ClosedClient):
        rc[:]


def test_a_with_block_that_raises_leaves_nothing_and_raises_on(leaks):
    with pytest.raises(ZeroDivisionError), oarlock.Cluster(n=1) as rc:
        rc[:].apply_async(__import__("time").sleep, 60)
        _ = 1 / 0
    leaks.check()


def test_every_coroutine_has_a_blocking_twin_that_dir_lists():
    assert len(COROUTINES) >= 10
    for name in COROUTINES:
        twin = getattr(oarlock.Cluster, f"{name}_sync")
        assert not inspect.iscoroutinefunction(twin)
        assert f"{name}_sync" in dir(oarlock.Cluster)
        assert name in inspect.getdoc(twin)
        ours, theirs = inspect.signature(twin), inspect.signature(getattr(oarlock.Cluster, name))
        assert ours.parameters == theirs.parameters


def test_the_steps_of_a_start_can_be_taken_by_hand(leaks):
    cluster = oarlock.Cluster(n=1)
    assert repr(cluster) == "<Cluster(controller=<stopped>, engine_sets=[])>"
    assert cluster.start_cluster_sync() is cluster
    first = cluster.engine_set.id
    second = cluster.start_engines_sync(2)
    cluster.wait_for_engines_sync(timeout=30)
    rc = cluster.connect_client_sync()
    assert rc.cluster is cluster
    assert rc.ids == [0, 1, 2]
    assert list(cluster.engines) == [first, second]
    assert f"controller=<running>, engine_sets=['{first}', '{second}']" in repr(cluster)
    cluster.stop_cluster_sync()
    cluster.stop_cluster_sync()  # is no mistake
    assert cluster.engines == {}
    leaks.check()


def test_start_and_connect_takes_the_number_of_engines(new_client, leaks):
    rc = oarlock.Cluster(n=5).start_and_connect_sync(n=1)
    assert rc.ids == [0]
    rc.cluster.stop_cluster_sync()


def test_a_cluster_starts_again_after_its_stop(leaks):
    cluster = oarlock.Cluster(n=1)
    with cluster as rc:
        before = rc[0].apply_sync(os.getpid)
    with cluster as rc:
        assert rc[0].apply_sync(os.getpid) != before


def test_a_second_start_of_the_controller_is_refused_and_harms_nothing(new_client):
    rc = new_client(1)
    with pytest.raises(RuntimeError, match="already runs"):
        rc.cluster.start_controller_sync()
    assert rc[:].apply_sync(abs, -1) == [1]


def test_what_needs_a_running_cluster_says_how_to_start_it():
    for act in ("start_engines_sync", "connect_client_sync", "wait_for_engines_sync"):
        with pytest.raises(RuntimeError, match="hint: call start_cluster_sync"):
            getattr(oarlock.Cluster(n=1), act)()


def test_the_default_is_one_engine_for_each_cpu_this_process_may_use(monkeypatch, leaks):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 9})
    with oarlock.Cluster() as rc:
        assert len(rc) == 3


@pytest.mark.parametrize(("bad", "kind"), [(-1, ValueError), (True, TypeError), ("2", TypeError)])
def test_a_number_of_engines_that_is_none_is_refused_at_once(bad, kind):
    with pytest.raises(kind, match="number of engines"):
        oarlock.Cluster(n=bad)


def test_a_cluster_without_engines_gets_some_later(new_client):
    rc = new_client(0)
    assert rc.ids == []
    late = rc.load_balanced_view().apply_async(abs, -1)
    rc.cluster.start_engines_sync(1)
    assert late.get(timeout=30) == 1


def test_engines_have_the_environment_given_and_the_clients_module_path(
    new_client, tmp_path, monkeypatch
):
    (tmp_path / "beside_the_script.py").write_text("value = 42\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    rc = new_client(1, env={"OARLOCK_TEST_VALUE": "given"})
    assert rc[0].apply_sync(os.getenv, "OARLOCK_TEST_VALUE") == "given"
    assert rc[0].apply_sync(lambda: __import__("beside_the_script").value) == 42
    assert "OARLOCK_TEST_VALUE" not in os.environ


# --- engines come and go


def test_engines_are_stopped_by_set_and_the_others_go_on(new_client, wait_exit):
    rc = new_client(1)
    cluster = rc.cluster
    added = cluster.start_engines_sync(1)
    cluster.wait_for_engines_sync()
    doomed = cluster.engines[added].pids
    cluster.stop_engines_sync(added)
    assert all(wait_exit(pid, 5) for pid in doomed)
    assert rc.ids == [0]
    assert added not in cluster.engines
    assert rc[:].apply_sync(abs, -1) == [1]
    with pytest.raises(KeyError, match="no engine set 'nobody'"):
        cluster.stop_engines_sync("nobody")


def test_a_busy_engine_is_stopped_all_the_same(new_client):
    rc = new_client(1)
    busy = rc[0].apply_async(__import__("time").sleep, 60)
    rc.cluster.stop_engines_sync()
    assert rc.ids == []
    assert isinstance(busy.exception(timeout=10), oarlock.EngineError)


def test_a_signal_reaches_the_engines_of_a_set(new_client):
    rc = new_client(1)
    other = rc.cluster.start_engines_sync(1)
    rc.cluster.wait_for_engines_sync()
    started = "import os, signal\nsignal.signal(signal.SIGUSR1, lambda *_: got.append(1))\ngot = []"
    rc[:].execute(started, block=True)
    rc.cluster.signal_engines_sync(signal.SIGUSR1, other)
    wait = "import signal, time\nfor _ in range(400):\n    if got: break\n    time.sleep(0.01)"
    rc[1].execute(wait, block=True)
    assert rc[:].pull("got", block=True) == [[], [1]]
    with pytest.raises(KeyError):
        rc.cluster.signal_engines_sync(signal.SIGUSR1, "nobody")
    with pytest.raises(ValueError, match="999"):
        rc.cluster.signal_engines_sync(999)


def test_killing_all_engines_by_signal_is_told_to_the_client(new_client):
    rc = new_client(2)
    tasks = rc[:].apply_async(__import__("time").sleep, 60)
    rc.cluster.signal_engines_sync(signal.SIGKILL)
    assert "SIGKILL" in str(tasks.exception(timeout=10))
    assert rc.ids == []


# --- a start that fails


def test_engines_that_end_at_their_start_are_told_with_their_last_words(sick_engines, leaks):
    cluster = oarlock.Cluster(n=2)
    # The test's own limit would run out before the engines' 60 s.
    with pytest.raises(oarlock.EngineError, match="this engine feels sick") as caught:
        cluster.start_and_connect_sync()
    assert "exit code 1" in str(caught.value)
    assert cluster.controller is None
    leaks.check()


def test_an_engine_that_takes_too_long_is_told_and_nothing_stays(tmp_path, monkeypatch, leaks):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, time\n"
        "if any('oarlock.engine' in word for word in sys.orig_argv):\n"
        "    time.sleep(50)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with (
        pytest.raises(oarlock.TimeoutError, match=r"1 of 1 engines were not ready after 0\.3 s"),
        oarlock.Cluster(n=1, engine_timeout=0.3),
    ):
        pass
    leaks.check()


# --- its life


def test_the_client_keeps_its_cluster_alive(leaks):
    rc = oarlock.Cluster(n=1).start_and_connect_sync()
    gc.collect()
    assert rc[0].apply_sync(abs, -1) == 1
    rc.cluster.stop_cluster_sync()


def test_a_cluster_nobody_can_reach_ends(leaks, wait_exit):
    rc = oarlock.Cluster(n=1).start_and_connect_sync()
    pid = rc[0].apply_sync(os.getpid)
    seen = weakref.ref(rc.cluster)
    del rc
    gc.collect()
    assert seen() is None
    assert wait_exit(pid, 5)
    leaks.check()


def test_a_view_or_a_pending_result_keeps_the_cluster_alive_too(leaks, wait_exit):
    view = oarlock.Cluster(n=1).start_and_connect_sync()[:]
    gc.collect()
    result = view.apply_async(os.getpid)
    cluster = weakref.ref(view.client.cluster)
    del view
    gc.collect()
    (pid,) = result.get(timeout=20)
    del result
    gc.collect()
    assert cluster() is None
    assert wait_exit(pid, 5)


def test_two_clusters_at_once_do_not_know_each_other(new_client):
    one, two = new_client(1), new_client(1)
    one[:].push({"a": 1}, block=True)
    two[:].push({"a": 2}, block=True)
    assert one[:]["a"] == [1]
    assert two[:]["a"] == [2]
    one.cluster.stop_cluster_sync()
    assert two[:]["a"] == [2]


def test_a_further_client_is_a_session_of_its_own(new_client):
    rc = new_client(1)
    with rc.cluster.connect_client_sync(timeout=5) as other:
        assert other.session != rc.session
        assert other.cluster is rc.cluster
        assert other.ids == rc.ids
    assert rc[:].apply_sync(abs, -1) == [1]


def test_a_program_that_ends_without_stopping_leaves_nothing_and_says_nothing(leaks):
    code = (
        "import oarlock, time\n"
        "rc = oarlock.Cluster(n=2).start_and_connect_sync()\n"
        "rc[:].apply_async(time.sleep, 60)\n"
        "print(rc.ids)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[0, 1]\n", "")
    leaks.check()


# --- with asyncio


def test_async_with_yields_a_client_and_leaves_the_loop_free(leaks):
    async def work():
        turns = 0

        async def count():
            nonlocal turns
            while True:
                await asyncio.sleep(0.001)
                turns += 1

        counting = asyncio.create_task(count())
        async with oarlock.Cluster(n=1) as rc:
            during = turns
            value = await rc[0].apply_async(abs, -1)
        counting.cancel()
        return during, value

    turns, value = asyncio.run(work())
    assert turns > 5, "the loop ran while the engine started"
    assert value == 1
    leaks.check()


def test_the_coroutines_do_by_hand_what_the_twins_do(leaks):
    async def work():
        cluster = oarlock.Cluster(n=1)
        rc = await cluster.start_and_connect()
        added = await cluster.start_engines(1)
        await cluster.wait_for_engines()
        assert rc.ids == [0, 1]
        await cluster.signal_engines(signal.SIGCONT)
        await cluster.stop_engines(added)
        assert rc.ids == [0]
        async with asyncio.timeout(20):
            assert await rc[0].apply_async(abs, -1) == 1
        await cluster.stop_cluster()
        assert cluster.controller is None

    asyncio.run(work())
    leaks.check()


def test_the_twins_work_while_a_loop_runs(leaks):
    async def work():
        with oarlock.Cluster(n=1) as rc:
            return rc[0].apply_sync(abs, -1)

    assert asyncio.run(work()) == 1


def test_a_cancelled_start_leaves_nothing(tmp_path, monkeypatch, leaks):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, time\n"
        "if any('oarlock.engine' in word for word in sys.orig_argv):\n"
        "    time.sleep(50)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    async def work():
        async with asyncio.timeout(0.5):
            await oarlock.Cluster(n=1).start_and_connect()

    with pytest.raises(TimeoutError):
        asyncio.run(work())
    leaks.check()


def test_a_failed_start_raises_in_a_coroutine_too(sick_engines, leaks):
    with pytest.raises(oarlock.EngineError, match="feels sick"):
        asyncio.run(oarlock.Cluster(n=1).start_and_connect())


def test_clusters_start_in_several_threads_at_once(leaks):
    values = []

    def work(number):
        with oarlock.Cluster(n=1) as rc:
            values.append(rc[0].apply_sync(abs, -number))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert sorted(values) == [0, 1, 2]
