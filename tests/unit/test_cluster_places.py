"""Directories of clusters: private, short, claimed by one, cleaned when their owner was killed."""

import fcntl
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from oarlock.cluster import launch, places, registry


@pytest.fixture(autouse=True)
def root(monkeypatch):
    """A root of the test's own."""
    with tempfile.TemporaryDirectory(prefix="o-", dir="/tmp") as name:
        monkeypatch.setenv("XDG_RUNTIME_DIR", name)
        yield Path(name)


def test_a_runtime_directory_that_others_may_enter_is_not_used(root):
    assert places.root() == root
    root.chmod(0o755)
    assert places.root() != root


def test_a_runtime_directory_too_long_for_sockets_is_not_used(root, monkeypatch):
    long = root / ("x" * 60)
    long.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    assert places.root() == Path("/tmp")


def test_every_directory_leaves_room_for_the_names_of_sockets():
    claim = registry.claim("x" * 24, engines=1)
    assert len(claim.directory) <= places.LONGEST
    claim.release()
    temporary = places.make_temporary()
    assert len(str(temporary)) <= places.LONGEST
    assert temporary.stat().st_mode & 0o777 == 0o700


def test_a_base_directory_that_others_may_enter_is_refused():
    places.base().chmod(0o777)
    with pytest.raises(PermissionError, match=r"hint: .*chmod 700"):
        places.base()


def test_a_base_directory_that_is_a_link_is_refused(root):
    (root / "elsewhere").mkdir(mode=0o700)
    (root / "oarlock").symlink_to(root / "elsewhere")
    with pytest.raises(PermissionError):
        registry.claim("lab", engines=1)


@pytest.mark.parametrize("bad", ["..", ".hidden", "a/b", "a b", "x" * 25, "-n"])
def test_an_id_that_is_no_name_of_a_directory_is_refused(bad):
    with pytest.raises(ValueError, match="hint:"):
        registry.claim(bad, engines=1)
    with pytest.raises(ValueError, match="hint:"):
        registry.find(bad)


def test_find_says_how_to_start_a_cluster_when_none_runs():
    with pytest.raises(FileNotFoundError) as caught:
        registry.find()
    assert "oarlock start -n 4" in str(caught.value)
    assert "oarlock.Cluster(n=4)" in str(caught.value)


def test_find_names_the_clusters_that_do_run():
    claim = registry.claim("lab", engines=1)
    with pytest.raises(registry.ClusterNotFoundError, match="running: lab"):
        registry.find("other")
    claim.release()


def test_a_claimed_cluster_is_found_until_it_is_released():
    claim = registry.claim("lab", engines=3)
    assert registry.find("lab") == claim.directory
    assert registry.list_clusters() == [claim.record]
    assert claim.record.pid == os.getpid()
    claim.release()
    claim.release()
    assert registry.list_clusters() == []
    assert not Path(claim.directory).exists()


def test_a_second_claim_is_refused_and_names_the_first():
    claim = registry.claim(engines=1)
    with pytest.raises(registry.ClusterRunningError, match=f"process {os.getpid()}"):
        registry.claim(engines=1)
    assert registry.find() == claim.directory
    claim.release()


def test_what_a_killed_process_claimed_is_removed():
    script = (
        "import os, signal\n"
        "from oarlock.cluster import registry\n"
        "registry.claim('lab', engines=1)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=False)
    (left,) = places.base().glob("lab.*")
    assert json.loads((left / "cluster.json").read_text())["cluster_id"] == "lab"
    assert registry.list_clusters() == []
    assert not left.exists()


def test_a_forked_child_keeps_no_claim_alive():
    claim = registry.claim("lab", engines=1)
    reading, writing = os.pipe()
    ready_reading, ready_writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.write(ready_writing, b"!")
        os.read(reading, 1)
        os._exit(0)
    os.read(ready_reading, 1)
    os.close(claim._handle)
    claim._handle = -1
    try:
        assert registry.list_clusters() == []
    finally:
        os.close(writing)
        os.waitpid(child, 0)


def test_a_forked_child_does_not_release_its_parents_claim():
    claim = registry.claim("lab", engines=1)
    child = os.fork()
    if child == 0:
        claim.release()
        os._exit(0)
    os.waitpid(child, 0)
    assert registry.find("lab") == claim.directory
    claim.release()


def _dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def _age(path):
    os.utime(path, (0, 0))


def test_sweeping_removes_only_directories_of_dead_processes_that_nobody_holds(root):
    dead = root / f"oarlock-{_dead_pid()}-abc"
    held = root / f"oarlock-{_dead_pid()}-held"
    fresh = root / f"oarlock-{_dead_pid()}-new"
    alive = root / f"oarlock-{os.getpid()}-abc"
    foreign = root / "oarlock-notes"
    for path in (dead, held, fresh, alive, foreign):
        path.mkdir(mode=0o700)
    with (held / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for path in (dead, held, alive, foreign):
            _age(path)
        assert places.sweep() == [dead]
    assert {path.name for path in root.iterdir()} == {
        held.name, fresh.name, alive.name, foreign.name,
    }  # fmt: skip


def test_each_run_of_a_cluster_has_a_directory_of_its_own():
    claim = registry.claim("lab", engines=1)
    claim.release()
    script = (
        "from oarlock.cluster import registry; print(registry.claim('lab', engines=1).directory)"
    )
    other = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() != claim.directory


@pytest.mark.parametrize("bad", [True, 1.0, "2"])
def test_the_number_of_engines_must_be_an_integer(bad):
    with pytest.raises(TypeError, match="must be an integer"):
        launch.engine_count(bad)


def test_an_engine_gets_the_clients_module_path_absolute_and_once(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", "beside", "beside", *sys.path])
    entries = launch.engine_environment()["OARLOCK_PATH"].split(os.pathsep)
    assert entries[:2] == [str(tmp_path), str(tmp_path / "beside")]
    assert len(entries) == len(set(entries))


def test_variables_for_engines_win_over_inherited_ones(monkeypatch):
    monkeypatch.setenv("COLOUR", "red")
    assert launch.engine_environment()["COLOUR"] == "red"
    assert launch.engine_environment({"COLOUR": "blue"})["COLOUR"] == "blue"
