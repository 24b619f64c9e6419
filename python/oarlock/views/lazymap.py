"""`LazyMapIterator`: a map that reads its input only as fast as its values are taken.

Input is read in `next()`, in the caller's thread: as much as keeps `max_outstanding` tasks
unfinished and the window of tasks not yet taken within `buffersize`, or `_WINDOW` times that. So
memory is bounded whatever the length of the input, and an error of the input shows at its own
position: after the values of all items before it.

Ctrl-C loses no item: what was read stays here until it is sent, and a task until its value is
given, so iteration can go on where it was left. Each step makes what is new first and then replaces
the old in one statement, between whose parts no signal handler runs.
"""

from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Self

from oarlock import _oarlock
from oarlock._about import About
from oarlock.result import AsyncResult
from oarlock.serialize import pack_function
from oarlock.views import chunks
from oarlock.views.buffered import checked_buffersize

if TYPE_CHECKING:
    from oarlock.views.balanced import LoadBalancedView

# Finished but untaken tasks allowed for each unfinished one, so that one slow item at the head of
# an ordered map does not stop the engines at once.
_WINDOW: Final = 4


class LazyMapIterator(Iterator[Any]):
    """Iterates over the values of `LoadBalancedView.imap`.

    An item that failed raises at its place and the next call goes on with the next item; after a
    KeyboardInterrupt it goes on where it was. Not for use from two threads at once.

    Example:
        >>> values = lview.imap(abs, [-1, 2, -3])
        >>> next(values), list(values)
        (1, [2, 3])
    """

    def __init__(
        self,
        view: "LoadBalancedView",
        f: Callable[..., Any],
        rows: Iterator[tuple[Any, ...]],
        *,
        ordered: bool,
        max_outstanding: int | str,
        buffersize: int | None,
        return_exceptions: bool,
    ) -> None:
        """Submit the first tasks; see `LoadBalancedView.imap`."""
        self._view = view
        self._func, self._body, self._name = pack_function(view._retried(f))
        self._rows: Iterator[tuple[Any, ...]] | None = rows
        self._ordered = ordered
        self._limit = _checked_limit(max_outstanding)
        self._size = checked_buffersize(buffersize)
        self._return_exceptions = return_exceptions
        self._input_error: BaseException | None = None
        self._unsent: list[tuple[Any, ...]] = []
        # Every task not yet taken is in one of these two: still to look at, or known to be done.
        self._window = _oarlock.Tasks.join(())
        self._done: deque[_oarlock.Tasks] = deque()
        self._fill(0)

    def __iter__(self) -> Self:
        """The iterator itself."""
        return self

    def __next__(self) -> Any:
        """The next value; waits for it.

        Raises:
            StopIteration: After the last value.
            RemoteError: What this item raised; the iterator can go on.
        """
        # Before each value, not only when they run out: a slow consumer keeps the engines busy.
        # The value about to be given makes room for another.
        self._fill(1)
        if not self._done:
            self._collect()
        if not self._done:
            error, self._input_error = self._input_error, None
            if error is not None:
                raise error
            raise StopIteration
        about = About(
            self._view.client,
            self._name,
            single=True,
            label=self._view.label,
            return_exceptions=self._return_exceptions,
        )
        result = AsyncResult(about, self._done[0])
        try:
            value = result.get()
        except Exception:
            del self._done[0]
            raise
        del self._done[0]
        return value

    def cancel(self) -> None:
        """Read no more input; what was submitted still runs and is still given."""
        self._rows = None

    # --- reading input

    def _fill(self, leaving: int) -> None:
        """Submit as many items as there is room for, in one crossing; `leaving` are about to go."""
        if self._rows is None and not self._unsent:
            return
        room = self._room(leaving)
        if room is None:
            while self._rows is not None or self._unsent:
                self._submit(1024)
        elif room > 0:
            self._submit(room)

    def _room(self, leaving: int) -> int | None:
        """How many items to submit now; None for all there are."""
        size, untaken = self._size, len(self._window) + len(self._done)
        if self._limit == 0:
            if size is None:
                return None
            few, room = size, size + leaving - untaken
        else:
            # Looked up each time: engines come and go.
            limit = self._limit if self._limit is not None else max(2, 2 * len(self._view))
            unfinished = len(self._window) - self._window.done_count()
            left = _WINDOW * limit - untaken if size is None else size + leaving - untaken
            few, room = min(limit, size or limit), min(limit - unfinished, left)
        # A few at a time: each crossing has its price.
        return room if room >= max(1, few // 4) else 0

    def _read(self, count: int) -> None:
        """Have `count` rows to send, if there are. An error of the input is kept for its turn."""
        missing = count - len(self._unsent)
        if self._rows is None or missing <= 0:
            return
        try:
            # One by one: what was read before an error or an interrupt stays.
            for row in islice(self._rows, missing):
                self._unsent.append(row)
        except Exception as error:  # raised when its turn comes
            self._input_error = error
            self._rows = None
        else:
            if len(self._unsent) < count:
                self._rows = None

    def _submit(self, count: int) -> None:
        """Send up to `count` items."""
        self._read(count)
        rows = self._unsent[:count]
        if not rows:
            return
        view = self._view
        view.client._check()
        payloads, failed = chunks.pack_calls(rows)
        tasks = view._submit_with(
            self._func,
            self._body,
            lambda: view._send(self._func, _oarlock.APPLY, payloads, None, failed),
            view.label,
        )
        window = _oarlock.Tasks.join((self._window, tasks)) if len(self._window) else tasks
        # Interrupted while it sends, it sends the same again: rather run twice than lost.
        self._window, self._unsent = window, self._unsent[count:]

    # --- taking outcomes

    def _collect(self) -> None:
        """Wait until one value can be given and move all that can to `_done`, which is empty."""
        window = self._window
        if not len(window):
            return
        if self._ordered:
            window.wait_task(0)
            statuses = window.statuses()
            pending = statuses.find(_oarlock.PENDING)
            taken = list(range(len(window) if pending < 0 else pending))
        else:
            window.wait_count(1)
            taken = window.completion_order()
        left = set(taken)
        done = deque(window.pick((i,)) for i in taken)
        rest = window.pick([i for i in range(len(window)) if i not in left])
        self._window, self._done = rest, done


def _checked_limit(max_outstanding: int | str) -> int | None:
    """The bound on unfinished tasks: None for automatic, 0 for none."""
    if max_outstanding == "auto":
        return None
    if not isinstance(max_outstanding, int) or max_outstanding < 0:
        raise ValueError(
            f"max_outstanding must be 'auto' or a number from 0 up, not {max_outstanding!r}"
        )
    return max_outstanding
