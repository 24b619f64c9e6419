"""A task that prints without an end: its beginning and its end are kept, and nobody feels it."""

import re
from pathlib import Path

import pytest

from .conftest import PATIENCE

MIB = 1024 * 1024
#: What a task prints here, in MiB; a gigabyte does the same and takes longer.
FLOOD = 256
#: What is kept of a stream.
KEPT = MIB
#: What a process may grow by, in MiB: what is kept, on its way and at rest.
GROWTH = 32


def flood(mib, stream):
    import sys

    line = "x" * 1015
    out = getattr(sys, stream)
    for number in range(mib * 1024):
        out.write(f"{number:08}{line}\n")


def peak(pid):
    """The most memory the process ever had, in MiB."""
    (line,) = (
        line
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmHWM")
    )
    return int(line.split()[1]) // 1024


def forget_peak(pid):
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def check(text, mib):
    found = re.fullmatch(r"(?s)(.*)\n\[oarlock: (\d+) bytes of output were dropped\]\n(.*)", text)
    head, dropped, tail = found[1], int(found[2]), found[3]
    assert head.startswith("00000000xxx")
    assert tail.endswith("x\n")
    assert f"\n{mib * 1024 - 1:08}xxx" in tail
    assert len(head) + len(tail) == KEPT
    assert dropped == mib * MIB - KEPT


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_of_a_flood_the_beginning_and_the_end_are_kept_and_memory_stays_flat(new_client, stream):
    import os

    rc = new_client(2)
    pids = [*rc[:].apply_sync(os.getpid), os.getpid()]
    before = []
    for pid in pids:
        forget_peak(pid)
        before.append(peak(pid))
    flooding = rc[0].apply_async(flood, FLOOD, stream)
    others = rc[1].apply_async(flood, 1, stream)
    # The other engine's results come as ever while this one floods.
    assert rc[1].map(abs, range(-1000, 0)).get(PATIENCE) == list(range(1000, 0, -1))
    assert others.get(PATIENCE) is None
    assert not flooding.ready(), "it was over too soon to be in anybody's way"
    assert flooding.get(PATIENCE) is None
    check(getattr(flooding, stream), FLOOD)
    assert getattr(others, stream) == "".join(f"{n:08}{'x' * 1015}\n" for n in range(1024))
    for pid, mib in zip(pids, before, strict=True):
        assert peak(pid) - mib < GROWTH


def test_a_flooding_task_that_fails_tells_its_last_words(lview):
    def fail():
        print("begun", flush=True)
        for _ in range(3000):
            print("x" * 1023)
        print("the last words")
        raise ValueError("at last")

    result = lview.apply_async(fail)
    assert isinstance(result.exception(PATIENCE), Exception)
    assert result.stdout.startswith("begun\n")
    assert result.stdout.endswith("the last words\n")


def test_the_next_task_begins_with_nothing(lview):
    assert lview.apply_async(flood, 3, "stdout").get(PATIENCE) is None
    result = lview.apply_async(print, "mine")
    assert result.get(PATIENCE) is None
    assert result.stdout == "mine\n"
