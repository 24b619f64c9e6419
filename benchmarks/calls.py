"""Counting the system calls of processes, with strace."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path


def count(pids: Iterable[int], run: Callable[[], object]) -> float | None:
    """System calls that processes and their threads make while `run` runs.

    A call under strace takes many times as long, so this counts what a sequence of single steps
    does; how much is done at once in a busy system would not be what it is without.

    Returns:
        The number, or None where strace is not installed or may not look.
    """
    if shutil.which("strace") is None:
        return None
    targets = [word for pid in pids for word in ("-p", str(pid))]
    with tempfile.TemporaryDirectory() as place:
        table = Path(place, "table")
        tracer = subprocess.Popen(
            ["strace", "-f", "-c", "-o", str(table), *targets],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert tracer.stderr is not None
        # It says so, once for each process, when it sees all of its threads.
        attached = sum("attached" in tracer.stderr.readline() for _ in range(len(targets) // 2))
        try:
            if attached == len(targets) // 2:
                run()
        finally:
            os.kill(tracer.pid, signal.SIGINT)
            tracer.communicate()
        return _total(table) if attached == len(targets) // 2 and table.exists() else None


def _total(table: Path) -> float | None:
    for line in table.read_text().splitlines():
        words = line.split()
        if words and words[-1] == "total":
            return float(words[3])
    return None
