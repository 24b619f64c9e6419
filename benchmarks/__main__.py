"""The command line: ``python -m benchmarks``.

Each case of each system runs in a process of its own that nothing else runs beside, and the rounds
go through all systems in turn, so that a busy minute of the machine hits all of them alike.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Collection
from pathlib import Path

from benchmarks import core, procfs, report, runner
from benchmarks.cases import CASES
from benchmarks.systems import NAMES, load

_QUICK_SYSTEMS = ("oarlock", "oarlock-alone", "pool", "executor")


def main() -> int:
    """Measure and print the tables; 1 if a measurement failed, 130 if it was interrupted."""
    words = _parse()
    procfs.adopt_orphans()
    found = _prepare(words)
    for name, reason in found.skipped.items():
        _say(f"{name} is left out: {reason}")
    status = 0
    try:
        if words.core:
            _core(words, found)
        for turn in range(1, words.repeat + 1):
            _round(turn, words, found)
    except KeyboardInterrupt:
        _say("interrupted; this is what was measured until now")
        status = 130
    print(found.markdown(), end="")
    if words.json is not None:
        words.json.write_text(json.dumps(found.raw(), indent=1) + "\n")
    return status or int(any(outcomes.failures for outcomes in found.outcomes.values()))


def _core(words: argparse.Namespace, found: report.Report) -> None:
    _say("the Rust core alone")
    try:
        found.core, missing = core.measure(words.limit)
    except core.Missing as reason:
        missing = [f"the Rust core alone: {reason}"]
    for what in missing:
        name, _, reason = what.partition(": ")
        found.skipped[name] = reason


def _round(turn: int, words: argparse.Namespace, found: report.Report) -> None:
    if words.floors:
        _say(f"round {turn}: floors")
        runner.measure(["--floors"], found.floors, words.limit)
    for case in found.cases:
        for name in found.versions:
            outcomes = found.outcomes.setdefault((name, case), runner.Outcomes())
            if not outcomes.late:
                _measure(name, case, words, outcomes, turn)


def _measure(
    name: str, case: str, words: argparse.Namespace, outcomes: runner.Outcomes, turn: int
) -> None:
    _say(f"round {turn}: {case}, {name}")
    before = len(outcomes.failures)
    flags = ["--quick"] if words.quick else []
    runner.measure([*flags, name, case], outcomes, words.limit)
    for reason in outcomes.failures[before:]:
        _say(f"  {reason}")


def _prepare(words: argparse.Namespace) -> report.Report:
    """The empty report: which of the chosen systems there are."""
    versions, paces, skipped = {}, {}, {}
    for name in words.systems or (_QUICK_SYSTEMS if words.quick else NAMES):
        try:
            system = load(name)
            versions[name], paces[name] = system.version(), system.pace
        except ImportError as missing:
            skipped[name] = str(missing)
    return report.Report(
        versions=versions,
        paces=paces,
        skipped=skipped,
        cases=words.only or list(CASES),
        repeat=words.repeat,
        quick=words.quick,
        machine=report.describe_machine(),
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Compare oarlock with other tools for parallel work that are installed.",
    )
    parser.add_argument("--quick", action="store_true", help="shorter cases, fewer systems")
    parser.add_argument(
        "--only", type=_names(CASES), metavar="CASES", help=f"some of {','.join(CASES)}"
    )
    parser.add_argument(
        "--systems", type=_names(NAMES), metavar="SYSTEMS", help=f"some of {','.join(NAMES)}"
    )
    parser.add_argument("--repeat", type=int, metavar="N", help="rounds; 3, or 1 when quick")
    parser.add_argument("--limit", type=float, default=60, help="seconds a measurement may take")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write all numbers")
    parser.add_argument(
        "--no-floors", dest="floors", action="store_false", help="leave out the machine's floors"
    )
    parser.add_argument(
        "--no-core", dest="core", action="store_false", help="leave out the Rust core alone"
    )
    words = parser.parse_args()
    if words.quick:
        # Its program takes longer to build than all the rest to run.
        words.core = False
    if words.repeat is None:
        words.repeat = 1 if words.quick else 3
    if words.repeat < 1:
        parser.error("--repeat must be at least 1")
    return words


def _names(known: Collection[str]) -> Callable[[str], list[str]]:
    """Reads a list with commas of what is known."""

    def read(words: str) -> list[str]:
        chosen = words.split(",")
        if strangers := [word for word in chosen if word not in known]:
            raise argparse.ArgumentTypeError(
                f"there is no {', '.join(strangers)}; there are {', '.join(known)}"
            )
        return chosen

    return read


def _say(line: str) -> None:
    """Tell how far it is, where it does not get into the tables."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
