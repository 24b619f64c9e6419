"""What this process holds: descriptors, threads, children, shared memory, files of clusters.

Every test on a cluster is weighed before and after (`_balanced` in ``conftest.py``). A reading
costs a millisecond or two, so only what differs is looked at twice, and garbage is collected only
then: what hangs on a cycle has not been left behind.
"""

import contextlib
import gc
import os
import select
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

#: Seconds that what ends has to be gone; only a fault uses them up.
DEADLINE = 10.0

#: Names of shared memory that oarlock and Python make; other programs make theirs.
SHARED = ("oarlock", "psm_", "sem.", "pym-", "wnsm_")

#: Segments of shared memory that stay with a process for the next buffers while one of its
#: clusters lives; `test_leaks.py` holds that none stays after the last one.
POOL = "/memfd:oarlock"


def descriptors():
    """What this process has open, and how often; sockets and pipes by their inode."""
    found = Counter()
    for entry in os.listdir("/proc/self/fd"):
        # Listing takes one itself.
        with contextlib.suppress(OSError):
            found[os.readlink(f"/proc/self/fd/{entry}")] += 1
    return found


def threads():
    """Numbers of the threads of this process, as the kernel knows them."""
    return Counter(os.listdir("/proc/self/task"))


def name_of(thread):
    """What the kernel calls a thread. Its first moments it has the name of who made it."""
    try:
        return Path(f"/proc/self/task/{thread}/comm").read_text().strip()
    except OSError:
        return "ended meanwhile"


def lasting():
    """Threads without those that do what may block, which end when they had nothing to do."""
    return [number for number in threads() if name_of(number) != "oarlock-aside"]


def children():
    """Processes whose parent this is, the dead that nobody reaped included."""
    found = Counter()
    for entry in os.listdir("/proc/self/task"):
        with contextlib.suppress(OSError):
            found.update(Path(f"/proc/self/task/{entry}/children").read_text().split())
    return found


def mappings():
    """How often memory of segments is mapped."""
    found = Counter()
    with open("/proc/self/maps") as lines:
        for line in lines:
            if POOL in line:
                found[POOL] += 1
    return found


def files(directory):
    """Everything below the directory in which the clusters of this run live."""
    return Counter(
        os.path.join(place, name)
        for place, folders, names in os.walk(directory)
        for name in (*folders, *names)
    )


@dataclass
class Reading:
    """All of that at one moment, or the part of it that was not there before."""

    descriptors: Counter = field(default_factory=Counter)
    threads: Counter = field(default_factory=Counter)
    children: Counter = field(default_factory=Counter)
    mappings: Counter = field(default_factory=Counter)
    shared: Counter = field(default_factory=Counter)
    files: Counter = field(default_factory=Counter)

    @classmethod
    def take(cls, directory):
        shared = Counter(name for name in os.listdir("/dev/shm") if name.startswith(SHARED))
        return cls(descriptors(), threads(), children(), mappings(), shared, files(directory))

    def beyond(self, before):
        """What is here and was not there."""
        return Reading(*(getattr(self, name) - getattr(before, name) for name in vars(self)))

    def __bool__(self):
        return any(vars(self).values())

    def __str__(self):
        told = {name: dict(what) for name, what in vars(self).items() if what}
        if self.threads:
            told["threads"] = {number: name_of(number) for number in self.threads}
        return "; ".join(f"{name}: {what}" for name, what in told.items())


class Balance:
    """What there was when this was made, to compare with."""

    def __init__(self, directory):
        self._directory = directory
        self._before = Reading.take(directory)

    def more(self):
        """What there is now beyond that."""
        return Reading.take(self._directory).beyond(self._before)

    def settle(self, excused=lambda more: more):
        """Wait until nothing is left but what is `excused`; what is left at the deadline."""
        left = excused(self.more())
        deadline = time.monotonic() + DEADLINE
        while left and time.monotonic() < deadline:
            gc.collect()
            wait_for_one(left)
            left = excused(self.more())
        return left


def wait_for_one(left):
    """Wait for the end of a child that is left, or a moment for what tells nobody of its end."""
    for pid in map(int, left.children):
        with contextlib.suppress(OSError):
            handle = os.pidfd_open(pid)
            try:
                select.select([handle], [], [], 0.1)
            finally:
                os.close(handle)
            return
    threading.Event().wait(0.01)
