"""Interactive parallel computing: functions run on engines, results arrive while you work.

Example:
    >>> import oarlock
    >>> with oarlock.Cluster(n=4) as rc:
    ...     print(rc[:].map_sync(abs, [-1, 2, -3]))
    [1, 2, 3]

Importing this package does no work: each public name is loaded when it is first used.
"""

from __future__ import annotations

# Loading `typing` takes longer than all that an engine needs; type checkers know this name.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION
    from typing import Any

    from oarlock._decorated import ParallelFunction, RemoteFunction, parallel, remote
    from oarlock._oarlock import __version__
    from oarlock.client import Client
    from oarlock.cluster import Cluster
    from oarlock.error import (
        AlreadyDisplayedError,
        ClosedClient,
        CompositeError,
        ControllerLost,
        DependencyTimeout,
        EngineError,
        EngineLost,
        ForkedClient,
        ImpossibleDependency,
        InvalidDependency,
        IPythonError,
        KernelError,
        NoEnginesRegistered,
        NotReady,
        OarlockError,
        PoisonTask,
        RemoteError,
        ResultUnreadable,
        SerializationError,
        TaskAborted,
        TaskCancelled,
        TaskRefused,
        TaskRejectError,
        TaskTimeout,
        TimeoutError,  # noqa: A004 - the name users of both libraries catch
        UnknownTask,
        UnmetDependency,
        collect_exceptions,
        unwrap_exception,
        wrap_exception,
    )
    from oarlock.mapresult import AsyncMapResult
    from oarlock.metadata import Metadata
    from oarlock.namespace import current_attempt
    from oarlock.reference import Reference
    from oarlock.result import AsyncResult
    from oarlock.result import AsyncResult as AsyncHubResult
    from oarlock.util import interactive
    from oarlock.views.balanced import LoadBalancedView
    from oarlock.views.direct import DirectView
    from oarlock.views.executor import ViewExecutor
    from oarlock.views.lazymap import LazyMapIterator
    from oarlock.views.targets import EngineGone

    version_info: tuple[int | str, ...]

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "AlreadyDisplayedError",
    "AsyncHubResult",
    "AsyncMapResult",
    "AsyncResult",
    "Client",
    "ClosedClient",
    "Cluster",
    "CompositeError",
    "ControllerLost",
    "DependencyTimeout",
    "DirectView",
    "EngineError",
    "EngineGone",
    "EngineLost",
    "ForkedClient",
    "IPythonError",
    "ImpossibleDependency",
    "InvalidDependency",
    "KernelError",
    "LazyMapIterator",
    "LoadBalancedView",
    "Metadata",
    "NoEnginesRegistered",
    "NotReady",
    "OarlockError",
    "ParallelFunction",
    "PoisonTask",
    "Reference",
    "RemoteError",
    "RemoteFunction",
    "ResultUnreadable",
    "SerializationError",
    "TaskAborted",
    "TaskCancelled",
    "TaskRefused",
    "TaskRejectError",
    "TaskTimeout",
    "TimeoutError",
    "UnknownTask",
    "UnmetDependency",
    "ViewExecutor",
    "__version__",
    "collect_exceptions",
    "current_attempt",
    "interactive",
    "parallel",
    "remote",
    "unwrap_exception",
    "version_info",
    "wrap_exception",
]

# Where a name lives when that is not `oarlock.error`: module, and the name there if it differs.
_HOMES = {
    "ALL_COMPLETED": "concurrent.futures",
    "FIRST_COMPLETED": "concurrent.futures",
    "FIRST_EXCEPTION": "concurrent.futures",
    "AsyncHubResult": "oarlock.result:AsyncResult",
    "AsyncMapResult": "oarlock.mapresult",
    "AsyncResult": "oarlock.result",
    "Client": "oarlock.client",
    "Cluster": "oarlock.cluster",
    "DirectView": "oarlock.views.direct",
    "EngineGone": "oarlock.views.targets",
    "LazyMapIterator": "oarlock.views.lazymap",
    "LoadBalancedView": "oarlock.views.balanced",
    "Metadata": "oarlock.metadata",
    "ParallelFunction": "oarlock._decorated",
    "Reference": "oarlock.reference",
    "RemoteFunction": "oarlock._decorated",
    "ViewExecutor": "oarlock.views.executor",
    "__version__": "oarlock._oarlock",
    "current_attempt": "oarlock.namespace",
    "interactive": "oarlock.util",
    "parallel": "oarlock._decorated",
    "remote": "oarlock._decorated",
}


def __getattr__(name: str) -> Any:
    """Load a public name at its first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: Any
    if name == "version_info":
        version = import_module("oarlock._oarlock").__version__
        value = tuple(int(part) if part.isdigit() else part for part in version.split("."))
    else:
        module, _, there = _HOMES.get(name, "oarlock.error").partition(":")
        value = getattr(import_module(module), there or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """All public names, loaded or not, and the public modules that were imported."""
    from types import ModuleType

    modules = (name for name, value in globals().items() if isinstance(value, ModuleType))
    return sorted({*__all__, *(name for name in modules if not name.startswith("_"))})
