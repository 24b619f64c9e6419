"""SIGINT reaches a task or nobody.

A cancelled task is interrupted by the signal, and so is one whose engine a user signals. The gate
is open only while user code may run; at any other time the signal does nothing, so that it can
neither end the engine nor lose an outcome.
"""

from __future__ import annotations

import signal

from oarlock import _oarlock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["Gate"]


class Gate(_oarlock.Switch):
    """Whether an interrupt may be raised now.

    Attributes:
        open: True while a task runs. Python looks for signals neither between a store to it and
            the ``try`` that follows, nor on the way into an ``except``.
        missed: Whether a signal came while it was closed. It may have been for the task that was
            just taken and is about to run, so whoever opens the gate looks.
    """

    __slots__ = ("felt",)

    def __init__(self) -> None:
        #: Called when a task feels an interrupt.
        self.felt: Callable[[], object] = bool

    def install(self) -> None:
        """Become the process's handler of SIGINT; main thread only."""
        signal.signal(signal.SIGINT, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self.open:
            self.felt()
            raise KeyboardInterrupt
        self.missed = True
