"""`oarlock start`, `stop` and `status` on real processes, as a person at a terminal uses them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import oarlock
from oarlock import cli
from oarlock.cluster import registry, standalone

OARLOCK = [sys.executable, "-m", "oarlock"]

# Makes its terminal the controlling one, so that Ctrl-C typed there is a signal to the process.
IN_A_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)


def run(*arguments):
    """A command of oarlock's, to its end."""
    return subprocess.run(
        [*OARLOCK, *arguments], capture_output=True, text=True, timeout=50, check=False
    )


@pytest.fixture(autouse=True)
def _nothing_stays(leaks):
    """Every test here ends with no cluster, whether it stopped it or failed to."""
    yield
    for record in registry.list_clusters():
        os.kill(record.pid, signal.SIGCONT)
        os.kill(record.pid, signal.SIGTERM)


@pytest.fixture
def daemon():
    """The default cluster, detached, with two engines."""
    done = run("start", "-n", "2", "--daemonize")
    assert done.returncode == 0, done.stderr
    (record,) = registry.list_clusters()
    return record


def test_daemonized_start_returns_when_the_engines_are_ready_and_says_how_to_go_on():
    done = run("start", "-n", "2", "--daemonize")
    assert (done.returncode, done.stderr) == (0, "")
    assert "'default' runs with 2 engines" in done.stdout
    assert "oarlock.Client()" in done.stdout
    assert "oarlock stop" in done.stdout
    (record,) = registry.list_clusters()
    assert (Path(record.log_directory) / "controller.log").exists()
    with oarlock.Client() as client:
        assert client.ids == [0, 1]
        assert client[:].apply_sync(abs, -1) == [1, 1]


def test_another_process_connects_and_sees_what_the_first_left(daemon):
    def python(code):
        code = f"import oarlock\nrc = oarlock.Client()\n{code}"
        return subprocess.check_output([sys.executable, "-c", code], text=True, timeout=30)

    assert python("rc[:].push({'a': 5}).get(); print(rc.ids)") == "[0, 1]\n"
    assert python("print(rc[:]['a'], rc.load_balanced_view().map_sync(abs, [-1, 2]))") == (
        "[5, 5] [1, 2]\n"
    )


def test_several_clients_use_one_cluster_at_once(daemon):
    with oarlock.Client() as one, oarlock.Client() as two:
        one[:].push({"a": 5}, block=True)
        assert two[:]["a"] == [5, 5]
    with oarlock.Client() as three:
        assert three[0]["a"] == 5


def test_a_client_from_elsewhere_is_told_how_an_engine_ended(daemon):
    with oarlock.Client() as client:
        doomed = client[0].apply_sync(os.getpid)
        failure = client[0].apply_async(os.kill, doomed, signal.SIGKILL).exception(20)
        assert isinstance(failure, oarlock.EngineLost)
        assert (failure.engine, failure.pid) == (0, doomed)
        assert failure.cause == "killed by SIGKILL"
        assert client[1].apply_sync(abs, -1) == 1


@pytest.mark.parametrize("how", [[], ["--daemonize"]])
def test_the_policy_and_the_times_of_silence_are_told_to_a_cluster_that_runs_alone(how):
    options = ["--restart", "--suspect-after", "0.3", "--lost-after", "0.5"]
    if how:
        assert run("start", "-n", "1", *options, *how).returncode == 0
    else:
        command = [*OARLOCK, "start", "-n", "1", *options]
        started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert "runs with 1 engine" in started.stdout.readline()
    with oarlock.Client() as client:
        os.kill(client.engine_status(0)["pid"], signal.SIGKILL)
        assert client.load_balanced_view().apply_async(abs, -1).get(20) == 1
        assert client.ids == [1]
        os.kill(client.engine_status(1)["pid"], signal.SIGSTOP)
        version = client._core.engines_version()
        while client.ids != [2]:
            assert client._core.wait_engines_change(version, 20)
            version = client._core.engines_version()
        client.shutdown(2, restart=True, block=True)
        client.wait_for_engines(1, timeout=20)
        assert client.ids == [3]
    assert run("stop").returncode == 0
    if not how:
        assert started.wait(20) == 0
        started.stdout.close()


def test_a_second_start_exits_with_10_and_names_the_running_one(daemon):
    for arguments in (["start"], ["start", "--daemonize"]):
        done = run(*arguments)
        assert done.returncode == 10
        assert f"process {daemon.pid}" in done.stderr
        assert "hint:" in done.stderr
    assert registry.list_clusters() == [daemon]


def test_stop_waits_until_everything_is_gone(daemon, wait_exit):
    done = run("stop")
    assert (done.returncode, done.stderr) == (0, "")
    assert str(daemon.pid) in done.stdout
    assert wait_exit(daemon.pid, 1)
    assert not Path(daemon.directory).exists()
    assert registry.list_clusters() == []


def test_stop_exits_with_11_when_it_finds_nothing():
    assert run("stop").returncode == 11
    done = run("stop", "nobody")
    assert done.returncode == 11
    assert "nobody" in done.stderr


def test_stop_all_with_nothing_to_stop_is_no_failure():
    done = run("stop", "--all")
    assert (done.returncode, done.stderr) == (0, "")
    assert "no cluster runs here" in done.stdout


def test_stop_ends_a_controller_that_does_not_answer(daemon, wait_exit):
    (Path(daemon.directory) / "door.sock").unlink()
    done = run("stop")
    assert done.returncode == 0, done.stderr
    assert wait_exit(daemon.pid, 1)


def test_stop_ends_a_controller_that_hangs(daemon, wait_exit, monkeypatch):
    monkeypatch.setattr(standalone, "_ANSWER", 0.2)
    monkeypatch.setattr(standalone, "_POLITE", 0.5)
    os.kill(daemon.pid, signal.SIGSTOP)
    assert standalone.count_engines(daemon) is None
    assert cli.main(["stop"]) == 0
    assert wait_exit(daemon.pid, 1)
    assert registry.list_clusters() == []


def test_stop_all_ends_every_cluster_started_from_the_command_line(daemon):
    assert run("start", "-n", "1", "--cluster-id", "lab", "--daemonize").returncode == 0
    assert [record.cluster_id for record in registry.list_clusters()] == ["default", "lab"]
    done = run("stop", "--all")
    assert done.returncode == 0, done.stderr
    assert registry.list_clusters() == []


def test_status_shows_each_cluster_in_a_table_and_as_json(daemon):
    table = run("status")
    assert table.returncode == 0
    header, row = table.stdout.splitlines()
    assert header.split() == ["CLUSTER", "ID", "PID", "ENGINES", "DIRECTORY"]
    assert row.split() == ["default", str(daemon.pid), "2", daemon.directory]
    (found,) = json.loads(run("status", "--json").stdout)
    assert found["engines"] == 2
    assert found["pid"] == daemon.pid


def test_status_without_a_cluster_says_how_to_start_one():
    done = run("status")
    assert done.returncode == 0
    assert "oarlock start" in done.stdout
    assert json.loads(run("status", "--json").stdout) == []


def test_of_a_killed_controller_status_says_what_to_do_and_stop_ends_the_rest(
    daemon, leaks, wait_exit
):
    with oarlock.Client() as client:
        engines = client[:].apply_sync(os.getpid)
    os.kill(daemon.pid, signal.SIGKILL)
    shown = run("status").stdout
    assert "controller died" in shown
    assert "start it again with `oarlock start -n 2`" in shown
    (row,) = json.loads(run("status", "--json").stdout)
    assert row["headless"]
    assert registry.list_clusters() == []
    with pytest.raises(registry.ClusterNotFoundError, match="start it again"):
        oarlock.Client()
    assert run("stop").returncode == 0
    assert not Path(daemon.directory).exists()
    assert all(wait_exit(pid, 5) for pid in engines)
    leaks.check()
    assert run("start", "-n", "1", "--daemonize").returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_foreground_cluster_and_leaves_nothing(number, leaks):
    with subprocess.Popen([*OARLOCK, "start", "-n", "2"], stdout=subprocess.PIPE, text=True) as run:
        assert "runs with 2 engines" in run.stdout.readline()
        run.send_signal(number)
        rest, _ = run.communicate(timeout=20)
    assert run.returncode == 0
    assert rest.count("runs with") == 0
    assert rest.endswith("stopped\n")
    leaks.check()


def test_control_c_in_a_terminal_ends_a_foreground_cluster_without_a_traceback(leaks):
    ours, terminal = os.openpty()
    with (
        open(ours, "rb", buffering=0) as screen,
        subprocess.Popen(
            [sys.executable, "-c", IN_A_TERMINAL, *OARLOCK, "start", "-n", "2"],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        ) as process,
    ):
        os.close(terminal)
        shown = b""
        while b"stop " not in shown:
            shown += screen.read(4096)
        os.write(ours, b"\x03")
        assert process.wait(timeout=20) == 0
        while not shown.endswith(b"stopped\r\n"):
            shown += screen.read(4096)
    assert b"Traceback" not in shown
    leaks.check()


@pytest.mark.parametrize("how", [[], ["--daemonize"]])
def test_engines_that_end_at_their_start_are_told_with_their_last_words(
    how, tmp_path, monkeypatch, leaks
):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "if any('oarlock.engine' in word for word in sys.orig_argv):\n"
        "    raise SystemExit('this engine feels sick')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = run("start", "-n", "2", *how)
    assert done.returncode == 1
    assert "2 of 2 engines ended before they were ready" in done.stderr
    assert "this engine feels sick" in done.stderr
    assert "runs with" not in done.stdout
    assert registry.list_clusters() == []
    leaks.check()


def test_an_embedded_cluster_with_an_id_is_found_but_not_stopped_from_outside():
    with oarlock.Cluster(n=1, cluster_id="lab") as rc:
        with oarlock.Client(cluster_id="lab") as other:
            assert other.ids == rc.ids
        (found,) = json.loads(run("status", "--json").stdout)
        assert found["embedded"] is True
        assert "lab (embedded)" in run("status").stdout
        refused = run("start", "-n", "1", "--cluster-id", "lab")
        assert refused.returncode == 10
        assert "end the program it lives in" in refused.stderr
        assert "oarlock stop" not in refused.stderr
        done = run("stop", "lab")
        assert done.returncode == 1
        assert f"process {os.getpid()}" in done.stderr
        assert rc[:].apply_sync(abs, -1) == [1]


@pytest.mark.parametrize("count", ["-1", "two"])
def test_a_number_of_engines_that_is_none_is_wrong_usage(count):
    done = run("start", "-n", count)
    assert done.returncode == 2
    assert "number of engines" in done.stderr


def test_the_console_script_is_the_same_program():
    script = Path(sys.executable).with_name("oarlock")
    if not script.exists():
        pytest.skip("oarlock is not installed beside this interpreter")
    shown = subprocess.check_output([script, "--version"], text=True, timeout=30)
    assert shown == run("--version").stdout


def test_a_command_that_is_none_is_wrong_usage_and_shows_those_there_are():
    done = run("begin")
    assert done.returncode == 2
    assert all(command in done.stderr for command in ("start", "stop", "status"))


def test_version_is_that_of_the_package():
    assert run("--version").stdout == f"oarlock {oarlock.__version__}\n"
