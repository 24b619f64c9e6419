"""Runs one task and says how it ended; whatever user code does, there is exactly one outcome."""

from __future__ import annotations

import itertools
import os
import sys
import time

from oarlock import _oarlock
from oarlock._item import ItemError
from oarlock.engine.interrupt import Gate
from oarlock.engine.known import KnownFunctions, add_hint
from oarlock.serialize.parts import dumps, loads
from oarlock.serialize.reports import describe, pack_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Final, Protocol

    Outcome = tuple[int, Sequence[Any]]

    class Core(Protocol):
        """What of `_oarlock.Engine` running a task takes."""

        id: int

        def progress(self, items: int) -> None:
            """Items of the running chunk that are done."""

        def cancelled(self) -> bool:
            """Whether the running task was asked to stop."""


__all__ = ["Runner"]

#: Items of a chunk that run between two looks at the clock, at most.
_STEP: Final = 64
#: Steps that take less than this, in seconds, grow.
_SHORT: Final = 0.005


def wanted_again() -> BaseException | None:
    """The exception for which its task may be run again, if one was raised since the last call."""
    rules = sys.modules.get("oarlock.views.rules")  # a function that needs it has loaded it
    if rules is None:
        return None
    raised: BaseException | None = rules.Retrying.raised
    rules.Retrying.raised = None
    return raised


class Runner:
    """Runs tasks of this engine, one at a time.

    Args:
        core: The compiled engine.
        functions: What it was sent so far.
        gate: Opened while user code runs.
    """

    def __init__(self, core: Core, functions: KnownFunctions, gate: Gate) -> None:
        self._core = core
        self._functions = functions
        self._gate = gate
        self._info: dict[str, Any] = {
            "engine_id": core.id,
            "pid": os.getpid(),
            "host": os.uname().nodename,
        }

    def run(self, name: bytes, parts: Sequence[Any]) -> Outcome:
        """Run a chunk; single calls are run by `_oarlock.Calls`.

        Args:
            name: Of its function.
            parts: Of the tuples of arguments.

        Returns:
            Status and parts for `_oarlock.Engine.done`.
        """
        gate = self._gate
        gate.open = True
        try:
            if gate.missed:
                gate.missed = False
                self.missed()
            outcome = self._chunk(name, parts)
            gate.open = False
        except BaseException as raised:
            gate.open = False
            return self.failed(raised)
        return outcome

    def missed(self) -> None:
        """An interrupt came while the gate was closed: raise it if it was for this task."""
        if self._core.cancelled():
            self._gate.felt()
            raise KeyboardInterrupt

    def failed(self, raised: BaseException) -> Outcome:
        """The outcome of a task that ended with `raised`."""
        if isinstance(raised, KeyboardInterrupt) and self._core.cancelled():
            return _oarlock.CANCELLED, []
        status = _oarlock.AGAIN if raised is wanted_again() else _oarlock.ERROR
        return status, [pack_error(raised, self._where("apply"))]

    def function(self, name: bytes) -> tuple[Callable[..., Any], bool]:
        """See `KnownFunctions.get`."""
        return self._functions.get(name)

    def arguments(self, parts: Sequence[Any]) -> Any:
        """What the parts of a task mean."""
        try:
            return loads(parts)
        except Exception as raised:
            add_hint(raised, "an argument of this task")
            raise

    def pack(self, value: Any) -> Sequence[Any]:
        """The parts of a result."""
        return dumps(value, "result")

    def _chunk(self, name: bytes, parts: Sequence[Any]) -> Outcome:
        function, _ = self._functions.get(name)
        values: list[Any] = []
        add = values.append
        unsent = ItemError
        failures = 0
        rows = iter(self.arguments(parts))
        now = time.monotonic()
        # The clock is not read for every item: fast ones run in steps of growing length. How far
        # it is is told after each, before an item that may take for ever; the core sends it on
        # when it is due.
        step, done = 1, -1
        while done < len(values):
            done = len(values)
            for args in itertools.islice(rows, step):
                try:
                    if type(args) is unsent:  # its arguments could not be sent
                        add(args)
                        failures += 1
                    else:
                        add(function(*args))
                except BaseException as raised:
                    if isinstance(raised, KeyboardInterrupt) and self._core.cancelled():
                        raise
                    add(self._item_error(raised))
                    failures += 1
            self._core.progress(len(values))
            before, now = now, time.monotonic()
            step = min(2 * step, _STEP) if now - before < _SHORT else 1
        try:
            packed = dumps(values, "result")
        except Exception:
            failures += self._mark_unpicklable(values)
            packed = dumps(values, "result")
        return (_oarlock.PARTIAL if failures else _oarlock.OK), packed

    def _mark_unpicklable(self, values: list[Any]) -> int:
        """Replace the values that cannot be pickled by their errors; how many there were."""
        marked = 0
        for index, value in enumerate(values):
            try:
                dumps(value, "result")
            except Exception as raised:
                values[index] = self._item_error(raised)
                marked += 1
        return marked

    def _item_error(self, raised: BaseException) -> ItemError:
        return ItemError(describe(raised, self._where("map")))

    def _where(self, method: str) -> dict[str, Any]:
        return {**self._info, "method": method}
