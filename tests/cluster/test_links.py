"""A cluster that is reached over a network: real processes over loopback, encrypted as anywhere.

What the gate does with strangers is in ``src/transport/tests/gatecrashers.rs``; here is what a user
does.
"""

import json
import os
import signal
import stat
import subprocess
import sys
import time

import pytest

import oarlock
from oarlock import error
from oarlock.cluster import registry

from .far import NAME, PATIENCE, Far
from .standalone import run
from .waiting import wait_until


def test_client_and_engine_work_together_through_the_gate(far):
    far.engine()
    with far.client() as rc:
        rc.wait_for_engines(2, timeout=PATIENCE)
        assert rc[:].map_sync(abs, range(-10, 0)) == list(range(10, 0, -1))
        assert set(rc[:].apply_sync(os.getpid)) >= {far.processes[0].pid}
        # Tasks of a client of this host go to the engine behind the gate, too.
        with oarlock.Client(cluster_id=NAME) as near:
            assert sorted(near.ids) == sorted(rc.ids)
            assert near[:].apply_sync(abs, -1) == [1, 1]


def test_large_arrays_go_through_the_gate_and_come_back_as_they_were(far):
    np = pytest.importorskip("numpy")
    far.engine()
    array = np.random.default_rng(1).integers(0, 255, 20_000_000, dtype=np.uint8)
    with far.client() as rc:
        rc.wait_for_engines(2, timeout=PATIENCE)
        for returned in rc[:].apply_sync(lambda array: array[::-1].copy(), array):
            assert (returned[::-1] == array).all()


def test_errors_output_and_cancellation_go_through_the_gate(far):
    far.engine()
    with far.client() as rc:
        rc.wait_for_engines(2, timeout=PATIENCE)
        (engine,) = (
            i
            for i, pid in zip(rc.ids, rc[:].apply_sync(os.getpid), strict=True)
            if pid == far.processes[0].pid
        )
        with pytest.raises(ZeroDivisionError):
            rc[engine].apply_sync(lambda: 1 / 0)
        said = rc[engine].apply(print, "from afar")
        said.get(timeout=PATIENCE)
        assert said.stdout == "from afar\n"
        slow = rc[engine].apply(time.sleep, 600)
        wait_until(lambda: slow.metadata.started is not None, "it begins")
        slow.cancel()
        with pytest.raises(error.TaskAborted):
            slow.get(timeout=PATIENCE)


def test_an_engine_that_is_killed_behind_the_gate_is_lost_and_its_task_told(far):
    process = far.engine()
    with far.client() as rc:
        rc.wait_for_engines(2, timeout=PATIENCE)
        ids = dict(zip(rc[:].apply_sync(os.getpid), rc.ids, strict=True))
        task = rc[ids[process.pid]].apply(time.sleep, 600)
        wait_until(lambda: task.metadata.started is not None, "it begins")
        process.send_signal(signal.SIGKILL)
        with pytest.raises(error.EngineError):
            task.get(timeout=PATIENCE)
        wait_until(lambda: len(rc) == 1, "it is gone from the list")
        assert rc[:].apply_sync(abs, -2) == [2]


def test_a_controller_that_was_killed_is_followed_through_the_same_gate(far, wait_exit):
    far.engine()
    with far.client() as rc:
        rc.wait_for_engines(2, timeout=PATIENCE)
        # One that has only just joined would come anew.
        assert rc[:].apply_sync(abs, -1) == [1, 1]
        before = rc.ids
        with open(far.file) as file:
            said = json.load(file)
        view = rc.load_balanced_view()
        results = view.map(lambda i: __import__("time").sleep(0.02) or i, range(200))
        os.kill(far.record.pid, signal.SIGKILL)
        assert wait_exit(far.record.pid, PATIENCE)
        wait_until(lambda: rc.away, "the client knows")
        far.start_again()
        assert list(results.get(timeout=PATIENCE)) == list(range(200))
        with open(far.file) as file:
            assert json.load(file) == said
        wait_until(lambda: rc.ids == before, f"all engines are back: {rc.ids}, not {before}")
        assert rc[:].apply_sync(abs, -3) == [3, 3]


def test_the_connection_file_is_private_and_says_all_that_is_needed(far):
    with open(far.file) as file:
        said = json.load(file)
    assert said["cluster_id"] == NAME
    assert len(bytes.fromhex(said["token"])) == len(bytes.fromhex(said["certificate"])) == 32
    for path in (far.file, far.record.connection_file):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    os.chmod(far.file, 0o644)
    with pytest.raises(ConnectionError, match=r"open to others \(mode 644"):
        far.client()
    os.chmod(far.file, 0o600)
    # The token is in no command line.
    for process in os.listdir("/proc"):
        if process.isdigit():
            try:
                with open(f"/proc/{process}/cmdline", "rb") as file:
                    assert said["token"].encode() not in file.read()
            except OSError:
                pass


@pytest.mark.parametrize("field", ["token", "certificate"])
def test_the_file_of_another_cluster_lets_nobody_in_and_says_what_is_wrong(far, tmp_path, field):
    with open(far.file) as file:
        said = json.load(file)
    other = tmp_path / "other.json"
    other.touch(0o600)
    other.write_text(json.dumps({**said, field: "ab" * 32}))
    with pytest.raises(ConnectionError, match=f"{field}.*connection file"):
        oarlock.Client(str(other))
    ended = subprocess.run(
        [sys.executable, "-m", "oarlock.engine", str(other)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert field in ended.stderr
    with far.client() as rc:
        assert rc.ids == [0]


def test_stopping_ends_engines_behind_the_gate_and_removes_the_files(far):
    process = far.engine()
    with far.client() as rc:
        rc.wait_for_engines(2, timeout=PATIENCE)
    subprocess.run([sys.executable, "-m", "oarlock", "stop", NAME], check=True, timeout=60)
    assert process.wait(PATIENCE) == 0
    assert not os.path.exists(far.file)


def test_a_place_to_listen_at_is_checked_and_named_in_full(leaks):
    for at in ("7000", ":7000", "no-such-host.invalid:0"):
        done = run("start", "--daemonize", "-n", "0", "--listen", at)
        assert done.returncode == 1
        assert at in done.stderr
    done = run("start", "--daemonize", "-n", "0", "--connection-file", "unused.json")
    assert done.returncode == 1
    assert "--listen" in done.stderr
    leaks.check()


@pytest.fixture
def alone(leaks, tmp_path):
    """A cluster of which nothing lives on this host but its controller."""
    cluster = Far(tmp_path, "--lease", "4", engines=0)
    yield cluster
    cluster.end()
    leaks.check()


def test_a_cluster_of_far_engines_only_goes_on_when_its_controller_was_killed(
    alone, leaks, wait_exit
):
    alone.engine()
    with alone.client() as rc:
        rc.wait_for_engines(1, timeout=PATIENCE)
        # One that has only just joined would come anew.
        assert rc[:].apply_sync(abs, -1) == [1]
        before = rc.ids
        results = rc.load_balanced_view().map(
            lambda i: __import__("time").sleep(0.02) or i, range(100)
        )
        os.kill(alone.record.pid, signal.SIGKILL)
        assert wait_exit(alone.record.pid, PATIENCE)
        # Who looks does no harm, and is told what to do.
        assert registry.list_clusters() == []
        assert registry.list_headless() == [alone.record]
        alone.start_again()
        assert list(results.get(timeout=PATIENCE)) == list(range(100))
        wait_until(lambda: rc.ids == before, "the engine is back")
        assert alone.record.directory == registry.find(NAME)
    os.kill(alone.record.pid, signal.SIGKILL)
    # After the lease the engine ends, and nobody waits any more.
    assert alone.processes[0].wait(PATIENCE) == 1
    wait_until(lambda: registry.list_headless() == [], "it is swept away")
    assert not leaks.directories()


def test_a_directory_is_kept_for_far_engines_as_long_as_the_lease_and_no_longer(
    runtime_directory, leaks
):
    claim = registry.claim("vigil", engines=0, listen="127.0.0.1:0")
    os.close(claim._handle)  # as if its process had been killed
    claim._handle = -1
    followed = os.path.join(claim.directory, "followed")
    with open(followed, "w") as file:
        file.write("30.0\n")
    assert registry.list_headless() == [claim.record]
    for age in (20, -20):
        os.utime(followed, (time.time() - age,) * 2)
        registry.list_clusters()
        assert registry.list_headless() == [claim.record], age
    os.utime(followed, (time.time() - 40,) * 2)
    assert registry.list_headless() == []
    assert not os.path.exists(claim.directory)


def test_far_engines_send_themselves_the_signals_that_are_meant_for_them(far):
    process = far.engine()
    with far.client() as rc:
        rc.wait_for_engines(2, timeout=PATIENCE)
        ids = dict(zip(rc[:].apply_sync(os.getpid), rc.ids, strict=True))
        engine = ids[process.pid]
        slow = rc[engine].apply(time.sleep, 600)
        wait_until(lambda: slow.metadata.started is not None, "it begins")
        rc.send_signal(signal.SIGINT, targets=engine, block=True)
        with pytest.raises(error.RemoteError) as caught:
            slow.get(timeout=PATIENCE)
        assert caught.value.ename == "KeyboardInterrupt"
        assert rc[engine].apply_sync(abs, -1) == 1
        rc.send_signal("SIGKILL", targets=engine, block=True)
        assert process.wait(PATIENCE) == -signal.SIGKILL
        wait_until(lambda: engine not in rc.ids, "it is gone")


def test_far_engines_are_shut_down_and_that_they_cannot_be_restarted_is_said(far):
    process = far.engine()
    with far.client() as rc:
        rc.wait_for_engines(2, timeout=PATIENCE)
        ids = dict(zip(rc[:].apply_sync(os.getpid), rc.ids, strict=True))
        engine = ids[process.pid]
        with pytest.raises(RuntimeError, match=f"engine {engine} was not started by this"):
            rc.shutdown(restart=True, block=True)
        assert rc[:].apply_sync(abs, -1) == [1, 1], "all or none"
        rc.shutdown(engine, block=True)
        assert process.wait(PATIENCE) == 0
        assert engine not in rc.ids
