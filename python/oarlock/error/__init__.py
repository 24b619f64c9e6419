"""The exceptions of oarlock.

::

    Exception
     └─ OarlockError                (= IPythonError)
         ├─ NotReady                 RuntimeError, ValueError: asked before the end
         └─ KernelError
             ├─ EngineError          an engine ended or never came
             │   └─ EngineLost       RemoteError too: the task died with its engine
             │       └─ PoisonTask   so did three engines under it
             ├─ NoEnginesRegistered
             ├─ ControllerLost       ConnectionError
             ├─ ClosedClient         RuntimeError, ConnectionError
             ├─ ForkedClient         RuntimeError
             ├─ SerializationError   pickle.PicklingError, TypeError
             ├─ ResultUnreadable     the value arrived and could not be unpickled
             ├─ TaskAborted
             │   └─ TaskCancelled    concurrent.futures.CancelledError
             ├─ TaskRefused          the controller gave the task to no engine
             │   └─ UnknownTask      KeyError
             ├─ TaskTimeout
             ├─ TaskRejectError
             ├─ UnmetDependency
             │   └─ ImpossibleDependency
             │       ├─ DependencyTimeout
             │       └─ InvalidDependency
             └─ RemoteError          raised by a task; also of its original type
                 ├─ CompositeError   ExceptionGroup: several of them
                 └─ AlreadyDisplayedError
    TimeoutError                     the built-in one and multiprocessing's

Classes are looked up in this module when they are raised, from other modules too (``error.X``), so
that replacing one here takes effect.
"""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any

from oarlock._item import ItemError

from ._composite import AlreadyDisplayedError, CompositeError
from ._make import (
    collect_exceptions,
    compose,
    make_remote,
    unwrap_exception,
    wrap_exception,
)
from ._remote import EngineLost, PoisonTask, RemoteError
from ._tree import (
    ClosedClient,
    ControllerLost,
    DependencyTimeout,
    EngineError,
    ForkedClient,
    ImpossibleDependency,
    InvalidDependency,
    KernelError,
    NoEnginesRegistered,
    NotReady,
    OarlockError,
    ResultUnreadable,
    SerializationError,
    TaskAborted,
    TaskCancelled,
    TaskRefused,
    TaskRejectError,
    TaskTimeout,
    UnknownTask,
    UnmetDependency,
)

if TYPE_CHECKING:

    class TimeoutError(builtins.TimeoutError):  # noqa: A001 - the name users of both libraries catch
        """A wait ran out: caught as the built-in one and as ``multiprocessing.TimeoutError``."""


IPythonError = OarlockError

_TIMEOUT_DOC = """A wait ran out: the built-in error and multiprocessing's in one.

Example:
    >>> result = lview.apply_async(time.sleep, 0.1)
    >>> result.get(timeout=0)
    Traceback (most recent call last):
    oarlock.error.TimeoutError: ...
    >>> result.wait()
    True
"""

__all__ = [
    "AlreadyDisplayedError",
    "ClosedClient",
    "CompositeError",
    "ControllerLost",
    "DependencyTimeout",
    "EngineError",
    "EngineLost",
    "ForkedClient",
    "IPythonError",
    "ImpossibleDependency",
    "InvalidDependency",
    "ItemError",
    "KernelError",
    "NoEnginesRegistered",
    "NotReady",
    "OarlockError",
    "PoisonTask",
    "RemoteError",
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
    "collect_exceptions",
    "compose",
    "make_remote",
    "unwrap_exception",
    "wrap_exception",
]


def __getattr__(name: str) -> Any:
    # Made when first needed: importing multiprocessing takes longer than the rest of oarlock.
    if name != "TimeoutError":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import multiprocessing

    made = type(
        "TimeoutError",
        (builtins.TimeoutError, multiprocessing.TimeoutError),
        {
            "__module__": __name__,
            "__doc__": _TIMEOUT_DOC,
        },
    )
    return globals().setdefault(name, made)


for _name in __all__:
    if isinstance(globals().get(_name), type):
        globals()[
            _name
        ].__module__ = __name__  # where users find it, also in tracebacks and pickles
