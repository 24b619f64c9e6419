"""What a task raised, and how a task ends when its engine does."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from . import _combine
from ._tree import EngineError, KernelError


class RemoteError(KernelError):
    """An exception a task raised on an engine.

    What `make_remote` builds is also of the type the task raised, with its ``args`` and attributes.

    Args:
        ename: name of the class on the engine.
        evalue: the exception's text.
        traceback: the traceback as text, None if there is none.
        engine_info: ``engine_id``, ``engine_uuid``, ``pid``, ``host``, ``method``, as far as known.

    Example:
        >>> try:
        ...     rc[1].apply_sync(lambda: 1 / 0)
        ... except RemoteError as failure:
        ...     print(repr(failure), isinstance(failure, ZeroDivisionError))
        <RemoteError[1]:ZeroDivisionError(division by zero)> True
    """

    # Set here too so that the instance's win over properties of these names in the original type.
    ename: str | None = None
    evalue: str | None = None
    traceback: str | None = None
    engine_info: dict[str, Any] | None = None
    original: BaseException | None = None
    remote_type: type[BaseException] | None = None

    def __init__(
        self,
        ename: str,
        evalue: str,
        traceback: str | None = None,
        engine_info: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(ename, evalue)
        self.ename = ename
        self.evalue = evalue
        self.traceback = traceback
        self.engine_info = dict(engine_info or {})

    def __str__(self) -> str:
        return f"{prefix(self.engine_info)} {said(self.ename, self.evalue)}"

    def __repr__(self) -> str:
        engine = (self.engine_info or {}).get("engine_id")
        return f"<RemoteError[{' ' if engine is None else engine}]:{self.ename}({self.evalue})>"

    def __reduce__(self) -> tuple[Any, ...]:
        description = {
            "ename": self.ename, "evalue": self.evalue, "traceback": self.traceback,
            "engine_info": self.engine_info,
        }  # fmt: skip
        # Not the original itself: many exceptions cannot be unpickled by their own means.
        taken = None if self.original is None else _combine.snapshot(self.original)
        return (
            _remake,
            (description, taken),
            {k: v for k, v in self.__dict__.items() if k != "original"},
        )

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        # The original type may have its own; what is pickled is always the description.
        return self.__reduce__()

    def render_traceback(self) -> list[str]:
        """Give the remote traceback, by lines, under a line that names the engine."""
        text = self.traceback or "no traceback is available"
        return [prefix(self.engine_info), *text.splitlines()]

    def _render_traceback_(self) -> list[str]:
        """Show this in IPython in place of the local traceback."""
        return self.render_traceback()

    def print_traceback(self, excid: int | None = None) -> None:
        """Print the remote traceback. `excid` is there for `CompositeError` and has no effect."""
        print("\n".join(self.render_traceback()))


class EngineLost(EngineError, RemoteError):
    """A task ended because its engine did.

    Args:
        task: the task's msg_id.
        engine: number of the engine.
        pid: its process.
        host: its machine.
        cause: how it ended, for instance ``killed by SIGKILL`` or ``exit code 3``.
        started: whether the engine had told that it started the task; what an engine did last it
            may not have told.
        attempt: which attempt to run the task this was, from 1.
        ran_for: seconds it had been running.
        unknown: whether nobody knows if it was started: engine and controller ended together.
        output: the end of what the engine wrote to its log.

    Example:
        >>> with oarlock.Cluster(n=1) as own:
        ...     try:
        ...         own[0].apply_sync(os._exit, 3)
        ...     except EngineLost as lost:
        ...         print(lost.engine, lost.cause)
        0 exit code 3
    """

    def __init__(
        self, task: str, *, engine: int | None = None, pid: int | None = None, host: str = "",
        cause: str = "", started: bool = False, attempt: int = 1, ran_for: float | None = None,
        output: str = "", unknown: bool = False,
    ) -> None:  # fmt: skip
        self.unknown = unknown
        self.attempt = attempt
        self.task, self.engine, self.pid, self.host = task, engine, pid, host
        self.cause, self.started, self.ran_for, self.output = cause, started, ran_for, output
        info = {"engine_id": engine, "pid": pid, "host": host, "method": "apply"}
        # The name by which code written for ipyparallel recognises the death of an engine.
        RemoteError.__init__(self, "EngineError", self._text(), None, info)

    def _text(self) -> str:
        known = [
            f"{name} {value}" for name, value in (("pid", self.pid), ("host", self.host)) if value
        ]
        where = f" ({', '.join(known)})" if known else ""
        ran = (
            "it is not known whether it had been started"
            if self.unknown
            else f"it had been running for {self.ran_for or 0.0:.1f} s; it may have finished"
            if self.started
            else "it had not been started"
        )
        text = (
            f"task {self.task} was lost: engine {self.engine}{where} ended "
            f"({self.cause or 'for an unknown reason'}); "
            f"{'' if self.unknown else 'as far as the engine told, '}{ran}. "
            f"Tasks of other engines go on; {self._verdict()}."
        )
        if self.output.strip():
            text += f"\nlast output of the engine:\n{self.output.rstrip()}"
        return f"{text}\n\nhint: {_death_hint(self.cause)}"

    def _verdict(self) -> str:
        if self.attempt > 1:
            return f"this was attempt {self.attempt} and no retry is left"
        return "this one is not run again, as the view's `retries` is 0"

    def __str__(self) -> str:
        return self.evalue or ""

    def __reduce__(self) -> tuple[Any, ...]:
        return _engine_lost, (self.task, type(self)), dict(self.__dict__)

    def __setstate__(self, state: dict[str, Any] | None) -> None:
        self.__dict__.update(state or {})


class PoisonTask(EngineLost):
    """A task under which three engines ended, so that it is run on no other.

    Attributes are those of `EngineLost`, about the last engine.

    Example:
        >>> with oarlock.Cluster(n=3) as own:
        ...     lview = own.load_balanced_view(retries=10)
        ...     lview.apply_sync(os._exit, 3)
        Traceback (most recent call last):
        oarlock.error.PoisonTask: ...
    """

    def _verdict(self) -> str:
        return f"this one is not run again, because {self.attempt} engines ended while they ran it"


def said(ename: str | None, evalue: str | None) -> str:
    """Name and text of an exception as Python shows them: without a colon when there is no text."""
    return f"{ename}: {evalue}" if evalue else f"{ename}"


def prefix(info: Mapping[str, Any] | None) -> str:
    if not info or info.get("engine_id") is None:
        return "[Engine Exception]"
    return f"[{info['engine_id']}:{info.get('method', 'apply')}]"


def _remake(description: dict[str, Any], taken: _combine.Snapshot | None) -> RemoteError:
    from . import _make

    original = None
    if taken is not None:
        with contextlib.suppress(Exception):  # the type's own code; the rest is still worth having
            original = _combine.build(taken.kind, taken)
    return _make.make_remote({**description, "exception": original, "notes": []})


def _death_hint(cause: str) -> str:
    if "memory" in cause:
        return (
            "the task needed more memory than there is; give each task less, or use fewer engines"
        )
    if "SIGKILL" in cause:
        return "this is how the system kills when memory runs out (see `dmesg`); or `kill -9`"
    if any(name in cause for name in ("SIGSEGV", "SIGBUS", "SIGABRT", "SIGILL", "SIGFPE")):
        return "compiled code crashed; the engine's log shows the Python stack at that moment"
    if "exit code" in cause:
        return "something in the task ended the process, for instance `os._exit`"
    return "submit the task again, or look into the engine's log"


def _engine_lost(task: str, kind: type[EngineLost] = EngineLost) -> EngineLost:
    return kind(task)
