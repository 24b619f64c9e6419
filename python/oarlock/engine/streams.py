"""What a task writes to stdout and stderr goes to the task's record, everything else to the log.

Text is passed on by lines, so that one `print` (which writes twice) is one message and output is
still seen while the task runs.
"""

from __future__ import annotations

import io
import os
from _thread import RLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal, TextIO

__all__ = ["TaskStream"]

#: Longest unfinished line held back, in characters.
_HELD: int = 8192


class _Bytes(io.RawIOBase):
    """The stream for those who write bytes (``sys.stdout.buffer``)."""

    def __init__(self, stream: TaskStream) -> None:
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        raw = bytes(data)
        self._stream.write(raw.decode("utf-8", "replace"))
        return len(raw)

    def flush(self) -> None:
        self._stream.flush()


class TaskStream(io.TextIOBase):
    """A text stream into the record of the running task.

    Args:
        send: ``send(number, text)`` as `_oarlock.Engine.write`: False when no task runs.
        number: 1 for stdout, 2 for stderr.
        real: Where text goes that belongs to no task; None when the process has no such stream.

    Attributes:
        held: What is held back.
    """

    def __init__(
        self, send: Callable[[Literal[1, 2], str], bool], number: Literal[1, 2], real: TextIO | None
    ) -> None:
        self._send = send
        self._number: Literal[1, 2] = number
        self._real = real
        self.held = ""
        # Reentrant: a signal handler may print while a print is under way.
        self._lock = RLock()
        self._pid = os.getpid()
        self.buffer = _Bytes(self)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Always UTF-8."""
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """What UTF-8 cannot hold is escaped."""
        return "backslashreplace"

    @property
    def name(self) -> str:
        """The usual name of the stream."""
        return "<stdout>" if self._number == 1 else "<stderr>"

    def writable(self) -> bool:
        """Always."""
        return True

    def isatty(self) -> bool:
        """Never, so that nobody colours or redraws."""
        return False

    def fileno(self) -> int:
        """The descriptor of the process's own stream, which subprocesses inherit."""
        if self._real is None:
            raise io.UnsupportedOperation("fileno")
        return self._real.fileno()

    def write(self, text: str, /) -> int:
        """Write `text`; it is passed on at the end of its line at the latest."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if os.getpid() != self._pid:  # a forked child of the task has no engine behind it
            self._fall_back(text)
            return len(text)
        with self._lock:
            self.held += text
            if "\n" in text or "\r" in text or len(self.held) > _HELD:
                self.flush()
        return len(text)

    def flush(self) -> None:
        """Pass on what is held back."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            text, self.held = self.held, ""
            if not text:
                return
            try:
                taken = self._send(self._number, text)
            except UnicodeEncodeError:  # a lone surrogate, as in names of files
                text = text.encode("utf-8", "backslashreplace").decode()
                taken = self._send(self._number, text)
            if not taken:
                self._fall_back(text)

    def close(self) -> None:
        """Only flush: the stream belongs to the engine, and the next task needs it."""
        self.flush()

    def _fall_back(self, text: str) -> None:
        if self._real is not None:
            self._real.write(text)
            self._real.flush()
