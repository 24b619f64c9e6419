"""What a task does to its own process costs that engine and nobody else."""

import contextlib
import os
import tempfile
import threading
from pathlib import Path

import pytest

import oarlock

from .conftest import PATIENCE

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
