"""`ViewExecutor`: a view as `concurrent.futures.Executor`."""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from itertools import islice
from typing import TYPE_CHECKING, Any

from oarlock import error
from oarlock.views.buffered import Buffered, checked_buffersize
from oarlock.views.chunks import checked_chunksize, require_sequences

if TYPE_CHECKING:
    from oarlock.result import AsyncResult
    from oarlock.views.base import View


class ViewExecutor(Executor):
    """Submits through a view. Shutting it down never ends an engine.

    Attributes:
        view: The view used.

    Example:
        >>> with rc.executor() as executor:
        ...     print(executor.submit(pow, 2, 10).result())
        1024
    """

    def __init__(self, view: "View") -> None:
        """Submit through `view`."""
        self.view = view
        self._max_workers = len(view)
        self._open = True

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "AsyncResult":
        """Call ``fn(*args, **kwargs)`` through the view.

        Returns:
            An `AsyncResult`, which is a `concurrent.futures.Future`.

        Raises:
            RuntimeError: After `shutdown`.
        """
        self._require_open()
        return self.view.apply_async(fn, *args, **kwargs)

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """Call `fn` for each item; without `buffersize` all is submitted before this returns.

        Args:
            fn: What to call.
            *iterables: One for each argument of `fn`; the shortest decides.
            timeout: Seconds from this call by which the last value must be there; None for ever.
            chunksize: Items per task. A direct view cuts one chunk per engine whatever this says.
            buffersize: How many tasks may be submitted whose values were not taken; then input,
                which may be endless, is read as values are taken. None for all at once.

        Returns:
            An iterator over the values in order. Leaving it early cancels what has not started.

        Raises:
            TimeoutError: From the iterator, when a value is not there in time.
            RuntimeError: After `shutdown`; with `buffersize` also from the iterator, when there is
                more to submit.
            TypeError: When `buffersize` is neither a whole number nor None.
            ValueError: When `buffersize` or `chunksize` is less than 1.

        Example:
            >>> from itertools import count, islice
            >>> list(islice(rc.executor().map(abs, count(-3), buffersize=2), 5))
            [3, 2, 1, 0, 1]
        """
        self._require_open()
        size = checked_buffersize(buffersize)
        deadline = None if timeout is None else time.monotonic() + timeout
        options: dict[str, Any] = (
            {"chunksize": chunksize} if "chunksize" in self.view.flag_names else {}
        )
        if "ordered" in self.view.flag_names:
            options["ordered"] = True
        if size is None:
            result = self.view.map_async(fn, *iterables, **options)
            return self._values(result, deadline)
        require_sequences(iterables)

        def send(rows: list[tuple[Any, ...]]) -> Any:
            self._require_open()
            return self.view.map_async(fn, *zip(*rows, strict=True), **options)

        rows = zip(*iterables, strict=False)
        buffer = Buffered(send, rows, size, checked_chunksize(chunksize))
        return buffer.values(lambda result: self._values(result, deadline), self._cancel)

    def _cancel(self, result: Any) -> None:
        """Cancel what is not done, if there is anything."""
        if not result._tasks.ready():
            self.view.client._core.cancel(result._tasks)

    def _values(self, result: Any, deadline: float | None) -> Iterator[Any]:
        tasks = result._tasks
        values = iter(result)
        try:
            if deadline is None:
                yield from values
                return
            counts = tasks.item_counts() or [1] * len(tasks)
            for index, count in enumerate(counts):
                if not tasks.wait_task(index, max(0.0, deadline - time.monotonic())):
                    raise error.TimeoutError(
                        f"task {index + 1} of {len(counts)} of the map did not finish in time"
                    )
                yield from islice(values, count)
        finally:
            self._cancel(result)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work.

        Args:
            wait: Return only when all tasks of the view have finished.
            cancel_futures: Cancel the tasks of the view that have not finished.
        """
        self._open = False
        if cancel_futures:
            self.view.abort(block=True)
        if wait:
            self.view.wait()

    def _require_open(self) -> None:
        if not self._open:
            raise RuntimeError(
                "this executor was shut down and takes no more work; view.executor gives a new one"
            )
