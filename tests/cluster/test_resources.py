"""What a task does to its own process costs that engine and nobody else."""

import contextlib
import os
import tempfile
import threading
from pathlib import Path

import pytest

import oarlock

from .conftest import PATIENCE
from .far import Far
from .waiting import wait_until

MIB = 1024 * 1024


@pytest.fixture
def memory_group():
    """A control group that grants 200 MiB; the file by which a process enters it."""
    older = Path("/sys/fs/cgroup/memory")
    try:
        if older.is_dir():
            groups = Path("/proc/self/cgroup").read_text().splitlines()
            (own,) = (line.split(":", 2)[2] for line in groups if ":memory:" in line)
            place = Path(tempfile.mkdtemp(prefix="oarlock-test-", dir=older / own.lstrip("/")))
            (place / "memory.limit_in_bytes").write_text(str(200 * MIB))
        else:
            place = Path(tempfile.mkdtemp(prefix="oarlock-test-", dir="/sys/fs/cgroup"))
            (place / "memory.max").write_text(str(200 * MIB))
            (place / "memory.swap.max").write_text("0")
    except (OSError, ValueError) as error:
        pytest.skip(f"no control group for memory can be made here: {error}")
    yield place / "cgroup.procs"
    for _ in range(1000):
        # The kernel lets go of the dead a moment later.
        with contextlib.suppress(OSError):
            place.rmdir()
            break
        threading.Event().wait(0.01)


def eat(group):
    with open(group, "w") as file:
        file.write(str(os.getpid()))
    held = []
    while True:
        held.append(b"x" * MIB)


def test_an_engine_that_is_out_of_memory_ends_and_the_others_go_on(new_client, memory_group):
    rc = new_client(2)
    lost = rc[0].apply_async(eat, str(memory_group))
    others = rc[1].map_async(abs, range(-100, 0))
    error = lost.exception(PATIENCE)
    assert isinstance(error, oarlock.EngineLost)
    assert "SIGKILL" in str(error) or "out of memory" in str(error)
    assert others.get(PATIENCE)[0] == 100
    assert rc[1].apply_sync(abs, -1) == 1


# --- near its memory


# Engines look at themselves when they give a sign of life: so five times a second.
OFTEN = {"suspect_after": 0.6, "lost_after": 20.0}


def fill(group, share):
    """Keep so much that this process has that share of the 200 MiB it is granted."""
    import resource
    from pathlib import Path

    import __main__

    __main__.kept = None
    with open(group, "w") as file:
        file.write("0")  # whoever writes
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    __main__.kept = b"x" * (int(200 * 2**20 * share) - resident)


def told(caplog):
    return [entry.getMessage() for entry in caplog.records if entry.name == "oarlock"]


def test_an_engine_near_its_memory_is_named_once_and_again_after_it_was_far(
    memory_group, new_client, caplog
):
    rc = new_client(2, **OFTEN)

    def warned(times):
        # Waits so short that only their ends can tell.
        assert rc[:].apply_sync(abs, -1) == [1, 1]
        return len(told(caplog)) >= times

    for times in (1, 2):
        rc[0].apply_sync(fill, str(memory_group), 0.85)
        wait_until(lambda times=times: warned(times), "the warning")
        status = rc.engine_status()
        assert [status[engine]["memory_warning"] for engine in (0, 1)] == [True, False]
        rc[0].apply_sync(fill, str(memory_group), 0.74)
        rc[0].apply_sync(fill, str(memory_group), 0.85)
        rc[0].apply_sync(fill, str(memory_group), 0.4)
        wait_until(lambda: not rc.engine_status(0)["memory_warning"], "it is far again")
    assert len(told(caplog)) == 2
    pid, host = (status[0][what] for what in ("pid", "host"))
    for text in told(caplog):
        assert f"engine 0 (process {pid} on {host}) has " in text
        assert " MiB in memory, 8" in text
        assert "of the 200 MiB" in text
        assert "EngineLost" in text
        assert "hint: " in text


def test_who_waits_for_one_long_task_or_is_called_back_is_told_of_its_memory(
    memory_group, new_client, caplog, gate
):
    rc = new_client(2, **OFTEN)
    hold = gate.hold

    def grow(group):
        fill(group, 0.85)
        return hold(1)

    result = rc[0].apply_async(grow, str(memory_group))
    gate.wait_begun()
    while not told(caplog):
        assert not result.wait(0.2)
    gate.release()
    assert result.get(PATIENCE) == 1
    rc[0].apply_sync(fill, str(memory_group), 0)
    caplog.clear()
    result = rc[1].apply_async(grow, str(memory_group))
    gate.wait_begun()
    done = threading.Event()
    result.add_done_callback(lambda _: done.set())
    wait_until(lambda: told(caplog), "the warning, though nobody waits in the client")
    gate.release()
    assert done.wait(PATIENCE)


def test_an_engine_behind_a_network_tells_of_its_memory_itself(
    leaks, tmp_path, memory_group, caplog
):
    far = Far(tmp_path, engines=0)
    try:
        engine = far.engine()
        with far.client() as rc:
            rc.wait_for_engines(1, timeout=PATIENCE)
            assert rc.engine_status(0)["memory"] is None
            rc[0].apply_sync(fill, str(memory_group), 0.85)
            wait_until(lambda: rc.engine_status(0)["memory_warning"], "the warning")
            status = rc.engine_status(0)
            assert 160 * MIB <= status["memory"] <= 200 * MIB
            assert status["memory_limit"] == 200 * MIB
            assert rc[0].apply_sync(abs, -1) == 1
            assert f"(process {engine.pid} on " in told(caplog)[0]
            # Who comes later hears of it, too.
            with far.client() as other:
                assert other[0].apply_sync(abs, -1) == 1
            assert len(told(caplog)) == 2
    finally:
        far.end()
    leaks.check()


# --- what else a task can take


def test_an_engine_whose_task_closes_its_connections_is_lost_and_says_why(new_client):
    rc = new_client(2)
    lost = rc[0].apply_async(os.closerange, 3, 4096)
    error = lost.exception(PATIENCE)
    assert isinstance(error, oarlock.EngineLost)
    assert rc[1].apply_sync(abs, -1) == 1


def test_a_task_that_opens_descriptors_without_an_end_is_an_error_and_the_engine_lives(new_client):
    rc = new_client(1)

    def flood():
        import os
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
        held = []
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))

    error = rc[0].apply_async(flood).exception(PATIENCE)
    # By name and text where even the modules of its own type cannot be loaded there.
    assert isinstance(error, oarlock.RemoteError)
    assert "Too many open files" in str(error)
    assert rc[0].apply_sync(abs, -1) == 1
