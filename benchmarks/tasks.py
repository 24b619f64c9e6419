"""What runs on the workers: functions that every system can send by name."""

import os
import time
from typing import Any


def nothing() -> None:
    """Do nothing, for a round trip with nothing in it."""


def same(value: Any) -> Any:
    """Give back what came."""
    return value


def nap(seconds: float) -> float:
    """Occupy a worker without occupying a CPU."""
    time.sleep(seconds)
    return seconds


def wait_for(path: str) -> None:
    """Occupy a worker until a file appears."""
    while not os.path.exists(path):
        time.sleep(0.02)


def is_writable(array: Any) -> bool:
    """Whether a task may change an array that came."""
    return bool(array.flags.writeable)


def length_beside(ballast: bytes, value: int) -> int:
    """Use a large captured value a little; partially applied, it is the closure of 1 MB."""
    return len(ballast) + value


def size_of(array: Any) -> int:
    """Look at an array that came."""
    return int(array.nbytes)


def load_numpy() -> str:
    """Import numpy before an array's journey is timed."""
    import numpy as np

    return np.__version__
