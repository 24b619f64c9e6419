"""What the kernel says that one process holds."""

from __future__ import annotations

import os
from dataclasses import astuple, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Weight:
    """Memory in MB, and how many of the other things.

    Of `pss`, in which shared pages count by share, `own` is no page of a file or of shared memory:
    what a program allocates.
    """

    rss: float
    pss: float
    own: float
    descriptors: float
    threads: float
    segments: float

    def __str__(self) -> str:
        _, pss, own, *others = astuple(self)
        return "/".join([f"{pss:.0f}", f"{own:.1f}", *(f"{other:.0f}" for other in others)])


def weigh(pid: int) -> Weight:
    """Weigh a process.

    Raises:
        OSError: It is not there.
    """
    place = Path("/proc", str(pid))
    kilobytes = {"Rss:": 0, "Pss:": 0, "Pss_Anon:": 0}
    for line in (place / "smaps_rollup").read_text().splitlines():
        name, *rest = line.split()
        if name in kilobytes:
            kilobytes[name] = int(rest[0])
    mapped = (place / "maps").read_text().count("/memfd:oarlock")
    rss, pss, own = (value / 1024 for value in kilobytes.values())
    descriptors, threads = (len(os.listdir(place / name)) for name in ("fd", "task"))
    return Weight(rss, pss, own, descriptors, threads, mapped)
