"""What the kernel says about this process and all it has started."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_PR_SET_CHILD_SUBREAPER: Final = 36


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that `descendants` finds them."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants(root: int) -> list[int]:
    """All living processes that `root` started, or that those started."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                # The name of the program stands in brackets and may contain anything.
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z":
                    children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    front = [root]
    while front:
        front = [child for parent in front for child in children.get(parent, ())]
        found += front
    return found


def pss(pids: Iterable[int]) -> float:
    """Memory of processes in MB, where shared pages count by share."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total / 1024


@dataclass(frozen=True)
class Pulse:
    """What all threads of some processes have used so far."""

    cpu_seconds: float
    wakeups: int
    threads: int
    switches: int = 0


def pulse(pids: Iterable[int]) -> Pulse:
    """CPU time, wake-ups, number of threads and context switches of processes.

    A wake-up is a switch away from a thread that waits; other switches take the CPU from one that
    could go on.
    """
    nanoseconds = wakeups = threads = forced = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for thread in (_PROC / str(pid) / "task").iterdir():
                nanoseconds += int((thread / "schedstat").read_text().split()[0])
                for line in (thread / "status").read_text().splitlines():
                    if line.startswith("voluntary_ctxt_switches:"):
                        wakeups += int(line.split()[1])
                    elif line.startswith("nonvoluntary_ctxt_switches:"):
                        forced += int(line.split()[1])
                threads += 1
    return Pulse(nanoseconds / 1e9, wakeups, threads, wakeups + forced)


def everything() -> list[int]:
    """This process and all it has started."""
    return [os.getpid(), *descendants(os.getpid())]
