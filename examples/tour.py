"""The main job on an embedded cluster: start engines, map functions, handle the results."""

import lzma
import os
import sysconfig
from functools import reduce
from math import sqrt
from operator import add
from pathlib import Path

import numpy as np

import oarlock


def square(x):
    return x * x


def packed_size(path):
    """How small a file becomes; reading and packing it is the engine's work."""
    return len(lzma.compress(Path(path).read_bytes()))


# Real input: the modules at the top of Python's own library, the largest first.
sources = sorted(
    Path(sysconfig.get_path("stdlib")).glob("*.py"), key=lambda path: -path.stat().st_size
)

with oarlock.Cluster(n=max(2, min(4, len(os.sched_getaffinity(0))))) as rc:
    print(rc.cluster, "with engines", rc.ids)

    # A map is iterable at once: `reduce` takes its items as they arrive.
    X = np.linspace(0, 100)
    print("\nroot mean square of", X.size, "numbers")
    print("  locally:    ", sqrt(reduce(add, map(square, X)) / X.size))
    print("  in parallel:", sqrt(reduce(add, rc[:].map(square, X)) / X.size))

    # One call on each engine, the answers by engine id.
    print("\nprocess ids by engine")
    for engine, pid in rc[:].apply_async(os.getpid).get_dict().items():
        print(f"  engine {engine}: {pid}")

    # Work of very different sizes, each item to the engine that is free next.
    print("\npacking", len(sources), "modules of Python's library")
    result = rc.load_balanced_view().map(packed_size, map(str, sources))
    before = sum(path.stat().st_size for path in sources)
    print(f"  {before / 1e6:.1f} MB became {sum(result) / 1e6:.1f} MB")
    print(
        f"  {result.serial_time:.2f} s of work in {result.wall_time:.2f} s: "
        f"speed-up {result.serial_time / result.wall_time:.2f} on {len(rc)} engines"
    )

    # Each task knows where and when it ran.
    slowest = max(result.metadata, key=lambda task: task.completed - task.started)
    took = (slowest.completed - slowest.started).total_seconds()
    print(f"  the longest took {took:.2f} s on engine {slowest.engine_id}")

print("\nnothing is left running")
