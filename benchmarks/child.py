"""The process that measures: one case on one system, or the floors.

It writes its outcome as JSON as soon as it has it, and ends the system afterwards, so that a system
that cannot end has still been measured.
"""

from __future__ import annotations

import argparse
import json
import os
import traceback
from pathlib import Path
from typing import Any

from benchmarks.systems import Unsupported, load


def main() -> None:
    """Measure what the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("system", nargs="?")
    parser.add_argument("case", nargs="?")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--floors", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--first-result", type=int)
    words = parser.parse_args()
    if words.first_result is not None:
        _first_result(words.system, words.first_result)
    elif words.floors:
        from benchmarks import floors

        _write(words.out, {"values": floors.measure()})
    else:
        _measure(words.system, words.case, words.quick, words.out)


def _measure(system_name: str, case_name: str, quick: bool, out: Path) -> None:
    from benchmarks import procfs
    from benchmarks.cases import CASES, Size

    procfs.adopt_orphans()
    case = CASES[case_name]
    system = load(system_name)
    started = False
    try:
        if not case.starts:
            started = True
            system.start()
            system.warm_up()
        values = case.run(system, Size(quick, system.pace))
        _write(out, {"values": values})
    except Unsupported:
        _write(out, {"values": {}})
    except BaseException as failure:
        traceback.print_exc()
        reason = "".join(traceback.format_exception_only(failure)).strip()
        _write(out, {"failed": reason.splitlines()[0]})
        raise SystemExit(1) from None
    finally:
        if started:
            system.close()


def _first_result(system_name: str, mouth: int) -> None:
    """Start the system, say so when it gave its first result, and end it."""
    from benchmarks import tasks

    system = load(system_name)
    system.start()
    if system.call(tasks.same, 1) == 1:
        os.write(mouth, b"1")
    system.close()


def _write(out: Path, outcome: dict[str, Any]) -> None:
    """Let the outcome appear at once or not at all."""
    part = out.with_suffix(".part")
    part.write_text(json.dumps(outcome))
    part.replace(out)


if __name__ == "__main__":
    main()
