"""What is measured. Each case runs in a process of its own on a system that has just started."""

from __future__ import annotations

import functools
import gc
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks import calls, procfs, tasks
from benchmarks.systems import WORKERS, System, Unsupported

Values = dict[str, float]


@dataclass(frozen=True)
class Metric:
    """One number of a case.

    Attributes:
        key: Its name in the raw results.
        title: Its row in the table.
        higher: Whether more is better.
        ratio: Whether a ratio to the baseline says something.
        floor: The floor it is printed beside. For a rate that is the time of one item, in µs.
    """

    key: str
    title: str
    higher: bool = False
    ratio: bool = True
    floor: str = ""


@dataclass(frozen=True)
class Size:
    """How much of a case is run.

    Attributes:
        quick: Whether a small share will do.
        pace: The share that the system is given of items that are counted.
    """

    quick: bool
    pace: float = 1.0

    def fixed(self, full: int, quick: int) -> int:
        """A number that is the same for all systems."""
        return quick if self.quick else full

    def paced(self, full: int, quick: int) -> int:
        """A number of items that only rates are made of."""
        return max(100, int(self.fixed(full, quick) * self.pace))


@dataclass(frozen=True)
class Case:
    """Something to measure.

    Attributes:
        metrics: The numbers it gives.
        run: Measures a system that runs.
        starts: Whether the case starts the system by itself, `run` being given one that does not.
    """

    metrics: tuple[Metric, ...]
    run: Callable[[System, Size], Values]
    starts: bool = False


def _round_trip(system: System, size: Size) -> Values:
    for _ in range(50):
        system.call(tasks.nothing)
    times = []
    for _ in range(size.fixed(1000, 300)):
        begin = time.perf_counter()
        system.call(tasks.nothing)
        times.append(time.perf_counter() - begin)
    times.sort()
    return {"p50": times[len(times) // 2] * 1e6, "p99": times[len(times) * 99 // 100] * 1e6}


def _submissions(system: System, size: Size) -> Values:
    count = size.paced(10_000, 3000)
    system.collect([system.submit(tasks.same, i) for i in range(100)])
    begin = time.perf_counter()
    pending = [system.submit(tasks.same, i) for i in range(count)]
    submitted = time.perf_counter()
    values = system.collect(pending)
    end = time.perf_counter()
    _require(values == list(range(count)), "wrong values")
    return {"submit": count / (submitted - begin), "all": count / (end - begin)}


def _fine_map(system: System, size: Size) -> Values:
    count = size.paced(50_000, 10_000)
    system.map_fine(tasks.same, range(100))
    return {"rate": _map_rate(system.map_fine, tasks.same, range(count))}


def _bulk_map(system: System, size: Size) -> Values:
    count = size.fixed(1_000_000, 500_000)
    system.map_bulk(tasks.same, range(100))
    return {"rate": _map_rate(system.map_bulk, tasks.same, range(count))}


def _first_result(system: System, _size: Size) -> Values:
    return {"first": _until_first(system.iterate)}


def _first_lazily(system: System, _size: Size) -> Values:
    return {"lazy": _until_first(system.iterate_lazily)}


def _until_first(iterate: Callable[..., Iterator[Any]]) -> float:
    """Milliseconds from the call to the first value."""
    begin = time.perf_counter()
    values = iterate(tasks.same, range(10_000))
    first = next(values)
    end = time.perf_counter()
    _require(first == 0, "wrong value")
    for _ in range(99):
        next(values)
    return (end - begin) * 1e3


def _array_and_back(system: System, _size: Size) -> Values:
    array = _array(system)
    begin = time.perf_counter()
    back = system.call(tasks.same, array)
    end = time.perf_counter()
    _require(back.shape == array.shape and back[-1] == array[-1], "the array came back changed")
    return {"seconds": (end - begin) * 1e3}


def _array_to_all(system: System, _size: Size) -> Values:
    array = _array(system)
    begin = time.perf_counter()
    sizes = system.to_all(tasks.size_of, array)
    end = time.perf_counter()
    _require(sizes == [array.nbytes] * WORKERS, "not all of it came")
    writable = system.to_all(tasks.is_writable, array)
    return {"seconds": (end - begin) * 1e3, "writable": sum(writable) / WORKERS}


def _closure(system: System, size: Size) -> Values:
    count = size.paced(5000, 250)
    ballast = random.Random(1).randbytes(1 << 20)
    f = functools.partial(tasks.length_beside, ballast)
    begin = time.perf_counter()
    values = system.map_fine(f, range(count))
    end = time.perf_counter()
    _require(values[-1] == len(ballast) + count - 1, "wrong values")
    return {"rate": count / (end - begin)}


def _start(system: System, _size: Size) -> Values:
    ear, mouth = os.pipe()
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.child", "--first-result", str(mouth), system.name],
        pass_fds=[mouth],
    )
    os.close(mouth)
    said = os.read(ear, 1)
    end = time.perf_counter()
    os.close(ear)
    process.wait()
    _require(said == b"1", "the process ended before its first result")
    return {"seconds": (end - begin) * 1e3}


def _growth(system: System, size: Size) -> Values:
    count, at_once = size.paced(100_000, 10_000), 1000

    def consume(total: int) -> None:
        for _ in range(max(1, total // at_once)):
            system.collect([system.submit(tasks.same, i) for i in range(min(at_once, total))])

    # The first tasks fill pools that are kept for later; that is no growth.
    consume(count // 5)
    before = _memory()
    consume(count)
    after = _memory()
    share = count / 100_000
    return {"client": (after[0] - before[0]) / share, "others": (after[1] - before[1]) / share}


def _pending(system: System, size: Size) -> Values:
    count = size.paced(100_000, 20_000)
    system.collect([system.submit(tasks.same, i) for i in range(1000)])
    with tempfile.TemporaryDirectory() as place:
        gate = os.path.join(place, "open")
        busy = [system.submit(tasks.wait_for, gate) for _ in range(WORKERS)]
        before = _memory()
        pending = [system.submit(tasks.nothing) for _ in range(count)]
        # Nobody announces that the last of them has come to rest.
        time.sleep(0.5)
        after = _memory()
        Path(gate).touch()
        system.collect([*busy, *pending])
    client, others = ((now - then) * 2**20 / count for then, now in zip(before, after))
    return {"client": client, "others": others}


def _effort(system: System, size: Size) -> Values:
    trips, count = size.fixed(1000, 200), size.paced(10_000, 2000)

    def travel() -> None:
        for _ in range(trips):
            system.call(tasks.nothing)

    def submit() -> None:
        system.collect([system.submit(tasks.same, i) for i in range(count)])

    def pulse(run: Callable[[], None]) -> tuple[float, float]:
        """Context switches and microseconds of CPU that a run takes."""
        before = procfs.pulse(processes)
        run()
        after = procfs.pulse(processes)
        cpu = (after.cpu_seconds - before.cpu_seconds) * 1e6
        return after.switches - before.switches, cpu

    travel()
    submit()
    processes = procfs.everything()
    (trip_switches, trip_cpu), (task_switches, task_cpu) = pulse(travel), pulse(submit)
    found = {
        "trip_switches": trip_switches / trips,
        "trip_cpu": trip_cpu / trips,
        "task_switches": task_switches / count,
        "task_cpu": task_cpu / count,
    }
    made = calls.count(processes, travel)
    return found if made is None else {**found, "trip_calls": made / trips}


def _idle(_system: System, size: Size) -> Values:
    # What the start left to do is done by then; nobody announces it.
    time.sleep(size.fixed(2, 1))
    processes = procfs.everything()
    window = size.fixed(4, 2)
    before = procfs.pulse(processes)
    time.sleep(window)
    after = procfs.pulse(processes)
    return {
        "pss": procfs.pss(processes),
        "cpu": (after.cpu_seconds - before.cpu_seconds) / window * 100,
        "wakeups": (after.wakeups - before.wakeups) / window,
        "processes": len(processes),
        "threads": after.threads,
    }


def _heavy_tail(system: System, _size: Size) -> Values:
    chance = random.Random(7)
    naps = [min(0.3, 0.003 * chance.paretovariate(1.1)) for _ in range(200)]
    ideal = max(*naps, math.fsum(naps) / WORKERS)
    begin = time.perf_counter()
    system.map_fine(tasks.nap, naps)
    return {"ratio": (time.perf_counter() - begin) / ideal}


def _memory() -> tuple[float, float]:
    """MB of this process and of all others."""
    gc.collect()
    return procfs.pss([os.getpid()]), procfs.pss(procfs.descendants(os.getpid()))


def _map_rate(run: Callable[..., list[Any]], f: Callable[..., Any], items: range) -> float:
    begin = time.perf_counter()
    values = run(f, items)
    end = time.perf_counter()
    _require(values == list(items), "wrong values")
    return len(items) / (end - begin)


def _array(system: System) -> Any:
    """100 MB of numbers, with numpy already there on the workers."""
    try:
        import numpy as np
    except ImportError as missing:
        raise Unsupported("numpy is not installed") from missing
    system.collect([system.submit(tasks.load_numpy) for _ in range(8)])
    system.to_all(tasks.size_of, np.zeros(8))
    return np.arange(12_500_000, dtype=np.float64)


def _require(holds: bool, otherwise: str) -> None:
    """A system that gives something else is not measured but reported."""
    if not holds:
        raise RuntimeError(otherwise)


CASES: Final[dict[str, Case]] = {
    "roundtrip": Case(
        (
            Metric("p50", "round trip p50, µs", floor="ping_p50"),
            Metric("p99", "round trip p99, µs", floor="ping_p99"),
        ),
        _round_trip,
    ),
    "submit": Case(
        (
            Metric(
                "all",
                "10,000 single submissions and results, tasks/s",
                higher=True,
                floor="pickle",
            ),
            Metric("submit", "… submission alone, tasks/s", higher=True),
        ),
        _submissions,
    ),
    "fine": Case(
        (Metric("rate", "map of 50,000 items, a task each, items/s", higher=True, floor="pickle"),),
        _fine_map,
    ),
    "bulk": Case(
        (Metric("rate", "map of 1,000,000 items, default chunks, items/s", higher=True),), _bulk_map
    ),
    "first": Case((Metric("first", "first of 10,000 results by iteration, ms"),), _first_result),
    "lazy": Case((Metric("lazy", "… where items are read lazily, ms"),), _first_lazily),
    "array": Case(
        (Metric("seconds", "100 MB array to a worker and back, ms", floor="memcpy"),),
        _array_and_back,
    ),
    "broadcast": Case(
        (
            Metric("seconds", "100 MB array to both workers, ms", floor="memcpy"),
            Metric("writable", "… share that arrives writable", higher=True, ratio=False),
        ),
        _array_to_all,
    ),
    "closure": Case(
        (Metric("rate", "1 MB closure over 5,000 items, items/s", higher=True),), _closure
    ),
    "start": Case(
        (Metric("seconds", "start of a process to its first result, ms"),), _start, starts=True
    ),
    "growth": Case(
        (
            Metric("client", "growth per 100,000 tasks, client, MB", ratio=False),
            Metric("others", "… all other processes, MB", ratio=False),
        ),
        _growth,
    ),
    "pending": Case(
        (
            Metric("client", "a pending no-op task, client, bytes", ratio=False),
            Metric("others", "… all other processes, bytes", ratio=False),
        ),
        _pending,
    ),
    "effort": Case(
        (
            Metric("trip_calls", "system calls per round trip"),
            Metric("trip_switches", "context switches per round trip"),
            Metric("trip_cpu", "CPU of all processes per round trip, µs"),
            Metric("task_switches", "context switches per task of 10,000"),
            Metric("task_cpu", "CPU of all processes per task of 10,000, µs"),
        ),
        _effort,
    ),
    "idle": Case(
        (
            Metric("pss", "idle memory of all processes, MB"),
            Metric("cpu", "idle CPU, %", ratio=False),
            Metric("wakeups", "idle wake-ups/s", ratio=False),
            Metric("processes", "processes", ratio=False),
            Metric("threads", "threads", ratio=False),
        ),
        _idle,
    ),
    "tail": Case((Metric("ratio", "heavy tail of 200 sleeps, makespan / ideal"),), _heavy_tail),
}
