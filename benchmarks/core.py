"""What the Rust core uses by itself, without sockets and without Python.

A program of its own counts it (``benchmarks/rust/counts.rs``), so this needs cargo; instructions
need valgrind, whose count does not depend on how busy the machine is.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).resolve().parent.parent
# Tasks per run under valgrind; what a start costs is in both and not in the difference.
_FEW: Final = 2560
_MANY: Final = 12_800


class Missing(Exception):
    """Something that is needed is not there; the message says what."""


def measure(limit: float) -> tuple[dict[str, float], list[str]]:
    """All numbers by name, and what is missing among them and why.

    Args:
        limit: Seconds that a run may take. A first build may take some minutes and is not limited.

    Raises:
        Missing: There are none.
    """
    program = _build()
    found = {}
    for line in _run([program, "--rates"], limit).splitlines():
        name, _, value = line.partition("\t")
        found[name] = float(value)
    if shutil.which("valgrind") is None:
        return found, ["instructions per task: valgrind is not installed"]
    few, many = (_instructions(program, tasks, limit) for tasks in (_FEW, _MANY))
    found["instructions per task, core without sockets"] = (many - few) / (_MANY - _FEW)
    return found, []


def _build() -> str:
    """The path of the program."""
    if shutil.which("cargo") is None:
        raise Missing("cargo is not installed")
    command = ["cargo", "bench", "--no-default-features", "--bench", "counts", "--no-run"]
    built = subprocess.run(
        [*command, "--quiet", "--message-format=json"],
        cwd=_ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("target", {}).get("name") == "counts" and message.get("executable"):
            return str(message["executable"])
    lines = built.stderr.strip().splitlines()
    raise Missing(f"it cannot be built: {lines[-1] if lines else built.returncode}")


def _run(command: list[str], limit: float) -> str:
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=limit)
    except subprocess.SubprocessError as failure:
        raise Missing(str(failure)) from failure
    # Its numbers are on one, those of valgrind on the other.
    return done.stdout or done.stderr


def _instructions(program: str, tasks: int, limit: float) -> int:
    """Instructions of a run that lets so many tasks live."""
    tool = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    said = _run([*tool, program, "--life", str(tasks)], limit)
    counted = re.search(r"Collected : (\d+)", said)
    if counted is None:
        raise Missing("valgrind gave no count")
    return int(counted[1])
