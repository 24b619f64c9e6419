"""What oarlock wants to reach on two cores, beside what a run has seen.

A report for who reads it: nothing fails because of it. Where a number that is needed was not
measured, nothing is said.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from benchmarks.cases import CASES
from benchmarks.runner import Outcomes

OURS: Final = ("oarlock", "oarlock-alone")


@dataclass(frozen=True)
class Numbers:
    """The medians of a run.

    Attributes:
        outcomes: By system and case.
        core: What the Rust core gave by itself, by name.
    """

    outcomes: Mapping[tuple[str, str], Outcomes]
    core: Mapping[str, float]

    def median(self, system: str, case: str, key: str) -> float | None:
        """The median of a number, if it was measured."""
        outcomes = self.outcomes.get((system, case))
        values = outcomes.values.get(key) if outcomes else None
        return statistics.median(values) if values else None

    def best_peer(self, case: str, key: str) -> float | None:
        """The best median among the systems that are not oarlock."""
        higher = any(metric.higher for metric in CASES[case].metrics if metric.key == key)
        systems = {system for system, at in self.outcomes if at == case and system not in OURS}
        medians = [self.median(system, case, key) for system in systems]
        found = [median for median in medians if median is not None]
        return (max if higher else min)(found) if found else None


Seen = Callable[[Numbers], float | None]


@dataclass(frozen=True)
class Target:
    """Something to reach.

    Attributes:
        title: What it is about.
        unit: What the number is followed by; it says what it is relative to.
        bound: The number to reach.
        least: Whether more is better than the bound, not less.
        seen: The number of a run.
    """

    title: str
    unit: str
    bound: float
    seen: Seen
    least: bool = False

    def row(self, numbers: Numbers, show: Callable[[float], str]) -> list[str] | None:
        """Its row in the table: title, wanted, seen, whether it is reached."""
        seen = self.seen(numbers)
        if seen is None:
            return None
        reached = seen >= self.bound if self.least else seen <= self.bound
        word = "at least" if self.least else "at most"
        wanted = f"{word} {show(self.bound)}{self.unit}"
        return [self.title, wanted, f"{show(seen)}{self.unit}", "yes" if reached else "no"]


def _pool(case: str, key: str, system: str = "oarlock") -> Seen:
    """Our number as a multiple of Pool's."""
    return lambda numbers: _ratio(
        numbers.median(system, case, key), numbers.median("pool", case, key)
    )


def _best(case: str, key: str) -> Seen:
    """Our number as a multiple of the best peer's."""
    return lambda numbers: _ratio(
        numbers.median("oarlock", case, key), numbers.best_peer(case, key)
    )


def _faster(case: str, key: str) -> Seen:
    """How many times faster than the best peer something is that is measured in time."""
    return lambda numbers: _ratio(
        numbers.best_peer(case, key), numbers.median("oarlock", case, key)
    )


def _own(case: str, *keys: str) -> Seen:
    """A number of ours, or the sum of some."""

    def seen(numbers: Numbers) -> float | None:
        values = [numbers.median("oarlock", case, key) for key in keys]
        known = [value for value in values if value is not None]
        return sum(known) if len(known) == len(values) else None

    return seen


def _core(name: str) -> Seen:
    return lambda numbers: numbers.core.get(name)


def _events(numbers: Numbers) -> float | None:
    """Task events a second: a task is submitted, assigned and ended."""
    took = numbers.core.get("ns per task, 10000 engines, 1000000 pending")
    return 3e9 / took if took else None


def _rise(*names: str) -> Seen:
    """Percent that the dearest of some scales costs more than the cheapest."""

    def seen(numbers: Numbers) -> float | None:
        costs = [numbers.core[name] for name in names if name in numbers.core]
        return (max(costs) / min(costs) - 1) * 100 if len(costs) == len(names) else None

    return seen


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


_ENGINES: Final = [f"ns per task, {count} engines, 100000 pending" for count in (10, 1000, 10_000)]
_SCATTERED: Final = [
    f"ns per task, {count} engines, scattered, 100000 pending" for count in (10, 1000, 10_000)
]
_PENDING: Final = [
    f"ns per task, 1000 engines, {count} pending" for count in (1000, 10_000, 100_000, 1_000_000)
]
_X: Final = "\N{MULTIPLICATION SIGN}"

TARGETS: Final = (
    Target("round trip p50", f" {_X} pool", 0.7, _pool("roundtrip", "p50")),
    Target("round trip p99", f" {_X} pool", 1, _pool("roundtrip", "p99")),
    Target(
        "round trip p50, standalone", f" {_X} pool", 1.3, _pool("roundtrip", "p50", "oarlock-alone")
    ),
    Target(
        "10,000 single submissions and results",
        f" {_X} pool",
        5,
        _pool("submit", "all"),
        least=True,
    ),
    Target("fine map", f" {_X} pool", 8, _pool("fine", "rate"), least=True),
    Target(
        "fine map, standalone",
        f" {_X} pool",
        4,
        _pool("fine", "rate", "oarlock-alone"),
        least=True,
    ),
    Target(
        "map of 1,000,000 items", f" {_X} the best peer", 1.2, _best("bulk", "rate"), least=True
    ),
    Target("first of 10,000 results", f" {_X} pool", 1.5, _pool("first", "first")),
    Target(
        "100 MB array to a worker and back, speed",
        f" {_X} the best peer",
        1.2,
        _faster("array", "seconds"),
        least=True,
    ),
    Target(
        "100 MB array to both workers, time",
        f" {_X} the best peer",
        0.9,
        _best("broadcast", "seconds"),
    ),
    Target("… share that arrives writable", "", 1, _own("broadcast", "writable"), least=True),
    Target("1 MB closure", f" {_X} the best peer", 20, _best("closure", "rate"), least=True),
    Target("start to the first result", f" {_X} pool", 2, _pool("start", "seconds")),
    Target("heavy tail, makespan / ideal", "", 1.05, _own("tail", "ratio")),
    Target("growth per 100,000 tasks", " MB", 3, _own("growth", "client", "others")),
    Target("a pending task", " bytes", 500, _own("pending", "client", "others")),
    Target("idle: processes", "", 3, _own("idle", "processes")),
    Target("idle: memory", " MB", 60, _own("idle", "pss")),
    Target("idle: CPU", " %", 0.3, _own("idle", "cpu")),
    Target("idle: wake-ups", "/s", 5, _own("idle", "wakeups")),
    Target("reactor: task events, largest scale", "/s", 1e6, _events, least=True),
    Target("reactor: dearer from 10 to 10,000 engines", " %", 20, _rise(*_ENGINES)),
    Target("… that lie scattered in memory", " %", 20, _rise(*_SCATTERED)),
    Target("reactor: dearer from 1,000 to 1,000,000 pending", " %", 20, _rise(*_PENDING)),
    Target(
        "reactor: state of a pending task",
        " bytes",
        300,
        _core("bytes of state per pending task, 1,000,000"),
    ),
)
