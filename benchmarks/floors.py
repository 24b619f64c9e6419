"""What nothing can be faster than on this machine, today."""

from __future__ import annotations

import os
import pickle
import socket
import statistics
import time
from collections.abc import Callable
from typing import Any, Final

from benchmarks import tasks

_MESSAGE: Final = b"x" * 100

# In the order of the table.
TITLES: Final = {
    "ping_p50": "100 bytes over a socket pair and back p50, µs",
    "ping_p99": "100 bytes over a socket pair and back p99, µs",
    "pickle": "pickle and unpickle a task by name, µs",
    "memcpy": "copy 100 MB in memory, ms",
    "fresh": "copy 100 MB into fresh memory, ms",
}


def measure() -> dict[str, float]:
    """All floors by key."""
    return {**_ping_pong(), "pickle": _pickle(), **_copy()}


def _ping_pong(count: int = 3000) -> dict[str, float]:
    here, there = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        here.close()
        while message := there.recv(4096):
            there.sendall(message)
        os._exit(0)
    there.close()
    times = []
    for _ in range(count):
        begin = time.perf_counter()
        here.sendall(_MESSAGE)
        here.recv(4096)
        times.append(time.perf_counter() - begin)
    here.close()
    os.waitpid(pid, 0)
    times.sort()
    return {"ping_p50": times[count // 2] * 1e6, "ping_p99": times[count * 99 // 100] * 1e6}


def _pickle(count: int = 2000) -> float:
    task: tuple[Any, ...] = (tasks.same, (12345,), {})

    def run() -> None:
        for _ in range(count):
            pickle.loads(pickle.dumps(task, protocol=5))

    return _median_seconds(run) / count * 1e6


def _copy(size: int = 100_000_000) -> dict[str, float]:
    source, target = bytearray(b"x") * size, memoryview(bytearray(b"y") * size)

    def warm() -> None:
        target[:] = source

    def fresh() -> None:
        bytes(source)

    return {"memcpy": _median_seconds(warm) * 1e3, "fresh": _median_seconds(fresh) * 1e3}


def _median_seconds(run: Callable[[], None], repeat: int = 5) -> float:
    times = []
    for _ in range(repeat):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return statistics.median(times)
