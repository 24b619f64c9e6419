"""Runs the measuring processes, one at a time, and outlives whatever they do."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks import procfs

_ROOT: Final = Path(__file__).resolve().parent.parent


@dataclass
class Outcomes:
    """What became of one case on one system, or of the floors, round by round.

    Attributes:
        values: The numbers of the rounds that succeeded, by metric.
        rounds: How many rounds gave an outcome, also an empty one.
        failures: Why other rounds gave none.
        late: Whether a round was ended by the time limit; it is not tried again.
    """

    values: dict[str, list[float]] = field(default_factory=dict)
    rounds: int = 0
    failures: list[str] = field(default_factory=list)
    late: bool = False


def measure(words: Iterable[str], outcomes: Outcomes, limit: float) -> None:
    """Run ``benchmarks.child`` with these words and add what it found to `outcomes`.

    Args:
        words: Its command line.
        outcomes: Where its numbers, or the reason why there are none, are added.
        limit: Seconds it may take, after which it and all it started is killed.
    """
    # A directory of its own keeps the files of a system that was killed from the next one.
    with tempfile.TemporaryDirectory(prefix="ob-", ignore_cleanup_errors=True) as place:
        out, log = Path(place, "out.json"), Path(place, "log")
        with log.open("wb") as sink:
            # In a session of its own: some launchers signal their whole process group at the end.
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.child", "--out", str(out), *words],
                cwd=_ROOT,
                env=_environment(place),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )
        in_time = False
        try:
            in_time = _wait(process, limit)
        finally:
            _end_all()
            process.wait()
            _bury()
        found: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
        if "values" in found:
            outcomes.rounds += 1
            for key, value in found["values"].items():
                outcomes.values.setdefault(key, []).append(value)
        if not in_time:
            outcomes.late = True
            done = "did not end within" if "values" in found else "took longer than"
            outcomes.failures.append(f"{done} {limit:g} s")
        elif "failed" in found:
            outcomes.failures.append(found["failed"])
        elif process.returncode != 0:
            outcomes.failures.append(_last_line(log) or f"exit code {process.returncode}")


def _environment(place: str) -> dict[str, str]:
    """This process's own, with all places for files moved to `place` and the tasks importable.

    Programs of the virtual environment are found as if it were activated.
    """
    path = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PYTHONPATH": os.pathsep.join(path),
        "TMPDIR": place,
        "XDG_RUNTIME_DIR": place,
        "IPYTHONDIR": os.path.join(place, "ipython"),
    }


def _wait(process: subprocess.Popen[bytes], limit: float) -> bool:
    """Whether the process ends in time; waiting takes no CPU that is being measured."""
    handle = os.pidfd_open(process.pid)
    try:
        return bool(select.select([handle], [], [], limit)[0])
    finally:
        os.close(handle)


def _end_all() -> None:
    """Kill what is still there of a measurement; whatever it was, it started below this process."""
    while left := procfs.descendants(os.getpid()):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in left:
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def _bury() -> None:
    """Take note of the end of processes that were adopted."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
