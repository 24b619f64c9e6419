"""The systems that are compared; each is loaded only in the process that measures it."""

import importlib
import importlib.util
from typing import Final

from benchmarks.systems.base import WORKERS, System, Unsupported

__all__ = ["BASELINE", "NAMES", "WORKERS", "System", "Unsupported", "load"]

_CLASSES: Final = {
    "oarlock": "oarlocks:Embedded",
    "oarlock-alone": "oarlocks:Standalone",
    "pool": "pools:Pool",
    "executor": "executors:ProcessPool",
    "loky": "executors:Loky",
    "ipyparallel": "ipyparallels:IPyParallel",
    "dask": "dasks:Dask",
    "ray": "rays:Ray",
    "mpi4py": "executors:Mpi",
}

NAMES: Final = tuple(_CLASSES)
# What the others are compared with.
BASELINE: Final = "pool"


def load(name: str) -> System:
    """The adapter called `name`, not started.

    Raises:
        KeyError: There is none.
        ImportError: Its package is not installed.
    """
    module, _, class_name = _CLASSES[name].partition(":")
    adapter: type[System] = getattr(
        importlib.import_module(f"benchmarks.systems.{module}"), class_name
    )
    if importlib.util.find_spec(adapter.package) is None:
        raise ImportError(f"{adapter.package} is not installed")
    system = adapter()
    system.name = name
    return system
