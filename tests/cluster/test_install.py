"""What is installed: an import that costs little, and one extension for all versions of Python."""

import subprocess
import sys
import time
from pathlib import Path

from oarlock import _oarlock

RUNS = 5
# Seconds that importing the package may take.
PROMISED = 0.1


def seconds(code):
    """How long a fresh interpreter takes for `code` at its best."""
    best = float("inf")
    for _ in range(RUNS):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, timeout=20)
        best = min(best, time.perf_counter() - began)
    return best


def test_importing_the_package_takes_little():
    assert seconds("import oarlock") - seconds("pass") < PROMISED


def test_the_extension_is_for_every_python_from_the_oldest_on():
    assert Path(_oarlock.__file__).name == "_oarlock.abi3.so"
