"""The plain classes of the tree drawn in `oarlock.error`."""

from __future__ import annotations

from concurrent.futures import CancelledError
from pickle import PicklingError


class OarlockError(Exception):
    """The root of everything oarlock raises on its own behalf.

    Example:
        >>> try:
        ...     rc[0].apply_sync(int, "x")
        ... except OarlockError as failure:
        ...     print(type(failure).__mro__[1:3])
        (<class 'oarlock.error.RemoteError'>, ...)
    """


class NotReady(OarlockError, RuntimeError, ValueError):
    """Something was asked of a result that only a finished one can answer.

    Example:
        >>> result = lview.apply_async(time.sleep, 0.1)
        >>> result.successful()
        Traceback (most recent call last):
        oarlock.error.NotReady: <AsyncResult(sleep): pending> is not done: ...
        >>> result.wait()
        True
    """


class KernelError(OarlockError):
    """Something went wrong with a cluster or a task."""


class EngineError(KernelError):
    """An engine ended, or did not come up."""


class NoEnginesRegistered(KernelError):
    """There is no engine to run this on, or was none for as long as the client lets tasks wait.

    Example:
        >>> with oarlock.Cluster(n=0) as empty:
        ...     empty[:]
        Traceback (most recent call last):
        oarlock.error.NoEnginesRegistered: no engine is there to run this; ...
    """

    def __str__(self) -> str:
        if self.args:
            return str(self.args[0])
        return (
            "no engine is there to run this; nothing was submitted\n\n"
            "hint: start some with `client.cluster.start_engines_sync(n)`, or wait for them with "
            "`client.wait_for_engines(n)`"
        )


class ControllerLost(KernelError, ConnectionError):
    """The controller ended or became unreachable while something waited for it.

    Example:
        >>> print(str(ControllerLost("the controller is gone")).splitlines()[-1])
        hint: start a cluster again ...
    """

    def __str__(self) -> str:
        return (
            f"{super().__str__()}\n\n"
            "hint: start a cluster again (`oarlock start -n 4`, or in Python `with "
            "oarlock.Cluster(n=4) as rc:`), connect a new client, and submit again"
        )


class ClosedClient(KernelError, RuntimeError, ConnectionError):
    """The client was closed.

    Example:
        >>> other = oarlock.Client(directory=rc.cluster.directory)
        >>> other.close()
        >>> other[:]
        Traceback (most recent call last):
        oarlock.error.ClosedClient: this client was closed...
    """

    def __str__(self) -> str:
        return (
            f"{super().__str__()}\n\n"
            "hint: get the results inside the `with` block, before the client is closed; "
            "for new work make a new oarlock.Cluster() or oarlock.Client()"
        )


class ForkedClient(KernelError, RuntimeError):
    """A client was used in a child process made by ``fork``."""


class SerializationError(KernelError, PicklingError, TypeError):
    """Something could not be pickled.

    Example:
        >>> view.apply_async(list, (x for x in "ab"))
        Traceback (most recent call last):
        oarlock.error.SerializationError: ...
    """


class ResultUnreadable(KernelError):
    """A task succeeded, but its value could not be unpickled here; the reason is the cause.

    Example:
        >>> class OnlyThere:
        ...     def __reduce__(self):
        ...         return int, ("no number",)
        >>> rc[0].apply_sync(OnlyThere)
        Traceback (most recent call last):
        oarlock.error.ResultUnreadable: ...
    """


class TaskAborted(KernelError):
    """A task was withdrawn before it ended."""


class TaskCancelled(TaskAborted, CancelledError):
    """A task was cancelled.

    Example:
        >>> result = lview.apply_async(time.sleep, 60)
        >>> result.cancel()
        True
        >>> result.get()
        Traceback (most recent call last):
        oarlock.error.TaskCancelled: ...
    """


class TaskRefused(KernelError):
    """The controller gave a task to no engine, and says why."""


class UnknownTask(TaskRefused, KeyError):
    """Nobody knows the task, or its result is no longer kept.

    Example:
        >>> rc.get_result(32 * "0" + "_7").get()
        Traceback (most recent call last):
        oarlock.error.UnknownTask: ...
    """

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class TaskTimeout(KernelError):
    """A task ran longer than the `timeout` of its view and was interrupted.

    Example:
        >>> slow = rc.load_balanced_view(timeout=0.05)
        >>> slow.apply_sync(time.sleep, 60)
        Traceback (most recent call last):
        oarlock.error.TaskTimeout: ...
    """


class TaskRejectError(KernelError):
    """An engine would not take a task."""


class UnmetDependency(KernelError):
    """A task's condition does not hold on this engine."""


class ImpossibleDependency(UnmetDependency):
    """A task's condition can never hold."""


class DependencyTimeout(ImpossibleDependency):
    """A task's condition did not hold in time."""


class InvalidDependency(ImpossibleDependency):
    """A task's condition names tasks nobody knows."""
