"""What is no longer needed is freed, and what cannot be delivered piles up nowhere."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import oarlock
from oarlock.cluster import registry

DEADLINE = 30
MB = 1_000_000


async def _through(result):
    return [value async for value in result]


WAYS = {
    "iteration": list,
    "async for": lambda result: asyncio.run(_through(result)),
    "get": lambda result: result.get(DEADLINE),
    "split": lambda result: [piece.get(DEADLINE)[0][0] for piece in result.split()],
    "index": lambda result: result.wait(DEADLINE) and [result[i] for i in range(len(result))],
}


@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "unordered"])
@pytest.mark.parametrize("way", WAYS)
def test_values_that_were_read_are_no_longer_kept_as_bytes(lview, way, ordered):
    result = lview.map_async(bytes, [100_000] * 50, ordered=ordered)
    assert WAYS[way](result) == [bytes(100_000)] * 50
    assert [result._tasks.parts(i) for i in range(50)] == [None] * 50
    assert result.get(DEADLINE) == [bytes(100_000)] * 50, "the values are"


def test_a_task_that_was_not_read_keeps_its_bytes_when_others_are(lview):
    result = lview.map_async(bytes, [100_000] * 3)
    assert result.wait(DEADLINE)
    assert result[0] == bytes(100_000)
    assert result._tasks.parts(0) is None
    assert result._tasks.parts(2) is not None
    assert result.get(DEADLINE) == [bytes(100_000)] * 3


# --- a client that takes nothing

CLIENT = """
import sys
import oarlock

with oarlock.Client() as rc:
    result = rc.load_balanced_view().map_async(bytes, [{size}] * {count}, ordered=False)
    # Answered after the tasks have come.
    rc.queue_status()
    print("sent", flush=True)
    print(sum(map(len, result)), flush=True)
"""


@pytest.fixture
def daemon(leaks):
    """A cluster of one engine with a controller of its own process."""
    start = [sys.executable, "-m", "oarlock", "start", "-n", "1", "--daemonize"]
    subprocess.run(start, check=True, timeout=DEADLINE, capture_output=True)
    (record,) = registry.list_clusters()
    yield record
    subprocess.run(
        [sys.executable, "-m", "oarlock", "stop"], check=True, timeout=DEADLINE, capture_output=True
    )


def resident(pid):
    """Bytes of memory a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def until_settled(client):
    """Wait until the engine ends no more tasks; yields at each look."""
    before, since = -1, time.monotonic()
    deadline = since + DEADLINE
    while time.monotonic() - since < 1 and time.monotonic() < deadline:
        yield
        now = client.queue_status()[0]["completed"]
        if now != before:
            before, since = now, time.monotonic()
        time.sleep(0.02)


def test_results_for_a_stopped_client_do_not_pile_up_in_the_controller(daemon):
    count = 800
    source = textwrap.dedent(CLIENT).format(size=MB, count=count)
    with (
        subprocess.Popen(
            [sys.executable, "-c", source], stdout=subprocess.PIPE, text=True
        ) as process,
        contextlib.ExitStack() as stack,
    ):
        stack.callback(process.kill)
        assert process.stdout.readline() == "sent\n"
        os.kill(process.pid, signal.SIGSTOP)
        with oarlock.Client() as client:
            peak = max(resident(daemon.pid) for _ in until_settled(client))
        os.kill(process.pid, signal.SIGCONT)
        assert peak < 400 * MB
        assert process.stdout.readline() == f"{count * MB}\n"
        assert process.wait(DEADLINE) == 0


# --- many tasks

MANY = """
import oarlock, time

with oarlock.Cluster(n=1) as owner, oarlock.Client(directory=owner.cluster.directory) as rc:
    running = rc[0].apply_async(time.sleep, 60)
    many = rc.load_balanced_view().map_async(abs, range({count}))
    known = rc.hub_history()
    print(len(known), known[:2] == [running.msg_ids[0], many.msg_ids[0]])
    running.cancel()
    many.cancel()
    print(rc.wait([running, many], timeout=30))
    rc.purge_hub_results(many)
    print(len(set(rc.hub_history()) & set(many.msg_ids)))
"""


def test_a_history_longer_than_one_message_is_told_and_purged(script):
    """What lists hundreds of thousands of tasks must not meet the limit of a message."""
    count = 600_000
    shown = script(textwrap.dedent(MANY).format(count=count))
    assert shown.splitlines() == [f"{count + 1} True", "True", "0"]
