"""The map of an executor with a bound on what was submitted and not yet taken.

As `concurrent.futures` of Python 3.14 has it: input is read in the caller's thread, first as much
as the buffer holds, then more as values are taken. The value that is about to be given has left
the buffer, so the engines have work while the caller looks at it.
"""

from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any


class Buffered:
    """Sends a map in batches; the first is sent when this is made.

    Args:
        send: Submits a batch of argument tuples.
        rows: The argument tuples.
        size: How many tasks may be submitted and not yet taken.
        step: Items per task.
    """

    def __init__(
        self,
        send: Callable[[list[tuple[Any, ...]]], Any],
        rows: Iterator[tuple[Any, ...]],
        size: int,
        step: int,
    ) -> None:
        self._send = send
        self._rows: Iterator[tuple[Any, ...]] | None = rows
        self._size, self._step = size, step
        self._held = 0
        self._sent: deque[Any] = deque()
        self._input_error: Exception | None = None
        self._fill()

    def values(
        self, values_of: Callable[[Any], Iterator[Any]], cancel: Callable[[Any], None]
    ) -> Iterator[Any]:
        """The values in order; `values_of` gives those of one batch.

        What is left when the iterator ends early is handed to `cancel`.
        """
        try:
            while self._sent:
                for value in values_of(self._sent[0]):
                    self._held -= 1
                    self._fill()
                    yield value
                del self._sent[0]
            if self._input_error is not None:
                raise self._input_error
        finally:
            while self._sent:
                cancel(self._sent.popleft())

    def _fill(self) -> None:
        if self._rows is None:
            return
        room = self._size - -(-self._held // self._step)
        # A few at a time: each crossing has its price.
        if room < max(1, self._size // 4):
            return
        count = room * self._step
        batch: list[tuple[Any, ...]] = []
        try:
            # What was read before an error stays.
            batch.extend(islice(self._rows, count))
        except Exception as error:  # raised when its turn comes
            self._input_error = error
        if len(batch) < count:
            self._rows = None
        if batch:
            self._sent.append(self._send(batch))
            self._held += len(batch)


def checked_buffersize(buffersize: int | None) -> int | None:
    """The bound, as `concurrent.futures` wants it.

    Raises:
        TypeError: When it is neither a whole number nor None.
        ValueError: When it is less than 1.
    """
    if buffersize is not None and not isinstance(buffersize, int):
        raise TypeError(f"buffersize is a whole number or None, not {buffersize!r}")
    if buffersize is not None and buffersize < 1:
        raise ValueError(f"buffersize is at least 1 or None, not {buffersize!r}")
    return buffersize
