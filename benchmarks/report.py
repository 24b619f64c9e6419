"""The tables: medians with ratios to the baseline, spreads, floors, and what failed."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from benchmarks import floors
from benchmarks.cases import CASES, Metric
from benchmarks.runner import Outcomes
from benchmarks.systems import BASELINE, WORKERS
from benchmarks.targets import TARGETS, Numbers

_DASH: Final = "-"
_TIMES: Final = "\N{MULTIPLICATION SIGN}"


@dataclass
class Report:
    """Everything that one run of the benchmark found.

    Attributes:
        versions: The systems that were measured, in the order of the columns.
        paces: The share of counted items that systems were given.
        skipped: Why systems were not measured at all.
        cases: The cases that were measured, in the order of the rows.
        repeat: How many rounds there were.
        quick: Whether the cases were shortened.
        machine: Where and when it ran.
        outcomes: By system and case.
        floors: What nothing can be faster than.
        core: What the Rust core uses by itself, by name.
    """

    versions: dict[str, str]
    paces: dict[str, float]
    skipped: dict[str, str]
    cases: list[str]
    repeat: int
    quick: bool
    machine: dict[str, str]
    outcomes: dict[tuple[str, str], Outcomes] = field(default_factory=dict)
    floors: Outcomes = field(default_factory=Outcomes)
    core: dict[str, float] = field(default_factory=dict)

    def markdown(self) -> str:
        """The whole report."""
        blocks = [
            self._head(),
            _table(["case", *self.versions, *self._floor_head()], self._medians()),
            self._legend(),
            *self._titled(
                "Targets of this project, as far as they were measured:", self._targets()
            ),
            *(
                ["Spread, lowest to highest:", _table(["case", *self.versions], self._spreads())]
                if self.repeat > 1
                else []
            ),
            *(["Floors of this machine:", self._floor_table()] if self.floors.values else []),
            *self._titled("The Rust core alone, without sockets and Python:", self._core_table()),
            self._notes(),
        ]
        return "\n\n".join(block for block in blocks if block) + "\n"

    def raw(self) -> dict[str, Any]:
        """All numbers, for a program to read."""
        nested: dict[str, dict[str, Any]] = {}
        for (system, case), outcomes in self.outcomes.items():
            nested.setdefault(system, {})[case] = asdict(outcomes)
        return {
            "machine": self.machine,
            "versions": self.versions,
            "paces": self.paces,
            "skipped": self.skipped,
            "repeat": self.repeat,
            "quick": self.quick,
            "systems": nested,
            "floors": asdict(self.floors),
            "core": self.core,
        }

    def _head(self) -> str:
        machine = "; ".join(f"{key} {value}" for key, value in self.machine.items())
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        rounds = "one round" if self.repeat == 1 else f"medians of {self.repeat} rounds"
        shortened = ", shortened cases" if self.quick else ""
        return f"{WORKERS} workers each, {rounds}{shortened}.\n\n{machine}.\n\n{versions}."

    def _legend(self) -> str:
        paces = ", ".join(f"{name} {pace:g}" for name, pace in self.paces.items() if pace < 1)
        lines = [f"`{_DASH}`: the system has no such thing, or gave no number (see the notes)."]
        if BASELINE in self.versions:
            lines.insert(0, f"In brackets: how many times better than {BASELINE}.")
        if paces:
            lines.append(f"Share of the items that slow systems were given, for rates: {paces}.")
        return "\n".join(lines)

    def _medians(self) -> list[list[str]]:
        return [
            [
                metric.title,
                *(self._median_cell(name, case, metric) for name in self.versions),
                *(self._floor_cell(metric) for _ in self._floor_head()),
            ]
            for case, metric in self._metrics()
        ]

    def _floor_head(self) -> list[str]:
        return ["floor"] if self.floors.values else []

    def _floor_cell(self, metric: Metric) -> str:
        values = self.floors.values.get(metric.floor)
        if not values:
            return ""
        floor = statistics.median(values)
        return show(1e6 / floor if metric.higher else floor)

    def _median_cell(self, system: str, case: str, metric: Metric) -> str:
        values = self._values(system, case, metric)
        if not values:
            return "failed" if self._failed(system, case) else _DASH
        median = statistics.median(values)
        cell = show(median)
        base = self._values(BASELINE, case, metric)
        if not metric.ratio or not base or system == BASELINE:
            return cell
        above, below = (median, statistics.median(base))
        if not metric.higher:
            above, below = below, above
        return f"{cell} ({show(above / below)}{_TIMES})" if below else cell

    def _spreads(self) -> list[list[str]]:
        rows = []
        for case, metric in self._metrics():
            row = [metric.title]
            for name in self.versions:
                values = self._values(name, case, metric)
                row.append(f"{show(min(values))} … {show(max(values))}" if values else _DASH)
            rows.append(row)
        return rows

    def _floor_table(self) -> str:
        rows = [
            [title, show(statistics.median(values)), f"{show(min(values))} … {show(max(values))}"]
            for key, title in floors.TITLES.items()
            if (values := self.floors.values.get(key))
        ]
        return _table(["floor", "median", "spread"], rows)

    def _targets(self) -> str:
        numbers = Numbers(self.outcomes, self.core)
        rows = [row for target in TARGETS if (row := target.row(numbers, show))]
        return _table(["target", "wanted", "seen", "reached"], rows) if rows else ""

    def _core_table(self) -> str:
        rows = [[name, show(value)] for name, value in self.core.items()]
        return _table(["count", "value"], rows) if rows else ""

    @staticmethod
    def _titled(title: str, table: str) -> list[str]:
        return [title, table] if table else []

    def _notes(self) -> str:
        lines = [f"- {name} was left out: {reason}" for name, reason in self.skipped.items()]
        where: dict[tuple[str, str], list[str]] = {}
        for (name, case), outcomes in [*self.outcomes.items(), (("the", "floors"), self.floors)]:
            for reason in dict.fromkeys(outcomes.failures):
                where.setdefault((name, reason), []).append(case)
        lines += [f"- {name} {', '.join(at)}: {reason}" for (name, reason), at in where.items()]
        return "\n".join(["Notes:", *lines]) if lines else ""

    def _metrics(self) -> Iterable[tuple[str, Metric]]:
        return ((case, metric) for case in self.cases for metric in CASES[case].metrics)

    def _values(self, system: str, case: str, metric: Metric) -> list[float]:
        outcomes = self.outcomes.get((system, case))
        return outcomes.values.get(metric.key, []) if outcomes else []

    def _failed(self, system: str, case: str) -> bool:
        outcomes = self.outcomes.get((system, case))
        return outcomes is not None and bool(outcomes.failures)


def show(value: float) -> str:
    """A number with as many digits as one can trust."""
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:.2f} M"
    if size >= 100:
        return f"{value:,.0f}".replace(",", " ")
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}"


def describe_machine() -> dict[str, str]:
    """Where this runs, and how busy it was before."""
    model = platform.machine()
    with open("/proc/cpuinfo") as lines:
        for line in lines:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "on": f"{len(os.sched_getaffinity(0))} {_TIMES} {model}, {pages / 2**30:.0f} GB",
        "Linux": platform.release(),
        "Python": platform.python_version(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its columns aligned for who reads it in a terminal."""
    widths = [max(map(len, column)) for column in zip(head, *rows)]

    def line(cells: Sequence[str]) -> str:
        first, *others = cells
        padded = [first.ljust(widths[0])]
        padded += [cell.rjust(width) for cell, width in zip(others, widths[1:])]
        return f"| {' | '.join(padded)} |"

    rule = [f"{'-' * widths[0]}", *(f"{'-' * (width - 1)}:" for width in widths[1:])]
    return "\n".join([line(head), f"| {' | '.join(rule)} |", *map(line, rows)])
