"""What is no longer needed is freed, and what is long is told in pieces."""

import asyncio
import textwrap

import pytest

DEADLINE = 30


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
