"""`AsyncResult`: what a submission gives at once, and its value later.

It is a `concurrent.futures.Future`, has all of `multiprocessing.pool.AsyncResult`, can be awaited,
and tells what happens meanwhile: progress, output, and a record of each task. The core does the
waiting and stamps what arrives; values are unpickled in the thread that asks, when it asks, once.

A result is *single* (one task, its value is the bare value, its metadata scalars) or a *list* (one
element for each task, also when there is only one).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION
from typing import TYPE_CHECKING, Any, NoReturn

from oarlock import error

from ._future import seconds
from ._outcomes import Cells, Failed, Partial, failures
from ._records import Recorded
from ._walk import Walk

if TYPE_CHECKING:
    from oarlock import _oarlock

    from ._about import About


class AsyncResult(Recorded):
    """The result of tasks that may still run.

    Views make these. Everything that waits takes a `timeout` in seconds, None or a negative number
    for ever; a wait that is interrupted or runs out leaves the tasks alone.

    Example:
        >>> view.apply_async(pow, 2, 10).get()
        [1024, 1024]
    """

    # Defaults of what few results have, so that making one stays cheap.
    _map: tuple[Any, ...] | None = None  # of a piece of a map: what is needed to join it again

    def __init__(self, about: About, tasks: _oarlock.Tasks, *, cells: Cells | None = None) -> None:
        """Stand for `tasks`; the arguments are for views.

        Args:
            about: what was asked for, which other results may share.
            tasks: the tasks.
            cells: outcomes shared with other results.
        """
        # Not Future.__init__: see `_future`.
        self._about = about
        self._tasks = tasks
        if cells is not None:
            self._cells = cells

    def __repr__(self) -> str:
        state = "pending"
        if self._tasks.ready():
            state = (
                "failed" if self._tasks.has_failed() and not self._return_exceptions else "finished"
            )
        return f"<{type(self).__name__}({self._fname}): {state}>"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} cannot be pickled or copied: it belongs to this client\n\n"
            "hint: pass on its value, or its `msg_ids` for `Client.get_result`"
        )

    # --- waiting

    def get(
        self,
        timeout: float | None = None,
        return_exceptions: bool | None = None,
        return_when: Any = None,
    ) -> Any:
        """Wait for the value and give it.

        Args:
            timeout: seconds; None or negative for ever, 0 to look only.
            return_exceptions: give failures as values, one for each item. None for the choice made
                at submission.
            return_when: ``FIRST_EXCEPTION`` raises as soon as one task failed.

        Returns:
            The bare value of a single result, a list otherwise.

        Raises:
            TimeoutError: if it is not there in time; the built-in one and multiprocessing's.
            RemoteError: what a single task raised, which is also of the type it raised there.
            CompositeError: once all are done, if tasks of a list failed: an ExceptionGroup, which
                is also of their common type, unless that has a layout of its own as OSError,
                NameError and ImportError have; ``except*`` finds those.
            EngineLost: if the task's engine died.
            TaskCancelled: if it was cancelled.
        """
        about = self._about
        keep = about.return_exceptions if return_exceptions is None else return_exceptions
        # The short way to a value that is there.
        if return_when is None and timeout is None and about.client._gone is None:
            if self._failure is None and not keep:
                return self._value
            if self._has_plain():
                return self._value
        if return_when == FIRST_EXCEPTION and not keep:
            self._wait_failed(timeout)
        elif return_when == FIRST_COMPLETED:
            warnings.warn(
                "get() waits for all; FIRST_COMPLETED has no effect", UserWarning, stacklevel=2
            )
        elif return_when not in (None, ALL_COMPLETED, FIRST_EXCEPTION):
            raise ValueError(
                f"return_when is ALL_COMPLETED or FIRST_EXCEPTION, not {return_when!r}"
            )
        if not self.wait(timeout):
            self._late(timeout)
        if self._has_plain():
            return self._value
        if keep:
            return self._assemble(self._all_cells(), True)
        failure = self._verdict()
        if failure is None:
            return self._value
        try:
            raise failure.with_traceback(None)
        finally:
            del self, failure  # or the exception's traceback would keep all of this alive

    def wait(self, timeout: float | None = -1, return_when: Any = None) -> Any:
        """Wait until all tasks are done; raises nothing a task raised.

        Args:
            timeout: seconds; None or negative for ever.
            return_when: one of the constants of `concurrent.futures`.

        Returns:
            Whether all are done; with `return_when`, the sets of pieces (see `split`) that are done
            and that are not.
        """
        self._enter()
        limit = seconds(timeout)
        tasks = self._tasks
        if return_when is None:
            return tasks.ready() or self._blocked(tasks.wait, limit)
        if return_when == FIRST_COMPLETED:
            self._blocked(tasks.wait_count, min(1, len(tasks)), limit)
        elif return_when == FIRST_EXCEPTION:
            self._blocked(tasks.wait_failed, limit)
        elif return_when == ALL_COMPLETED:
            self._blocked(tasks.wait, limit)
        else:
            raise ValueError(
                f"return_when is a constant of concurrent.futures, not {return_when!r}"
            )
        pieces = self.split()
        done = {piece for piece in pieces if piece.ready()}
        return done, set(pieces) - done

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the value and give it, as `get` does."""
        return self.get(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait, and give the exception that `get` would raise; None if there is none.

        Raises:
            TimeoutError: if the tasks are not done in time.
            TaskCancelled: if all were cancelled, as a `Future` does.
        """
        if not self.wait(timeout):
            self._late(timeout)
        failure = None if self._return_exceptions else self._verdict()
        if failure is not None and self.cancelled():
            raise failure.with_traceback(None)
        return failure

    @property
    def r(self) -> Any:
        """The value; waits for it."""
        return self.get()

    def ready(self) -> bool:
        """Tell whether all tasks are done."""
        return self._tasks.ready()

    def successful(self) -> bool:
        """Tell whether `get` gives a value.

        Raises:
            NotReady: before the end; a RuntimeError and a ValueError.
        """
        if not self._tasks.ready():
            raise error.NotReady(
                f"{self!r} is not done: whether it succeeds is not known yet\n\nhint: wait() first"
            )
        return self._return_exceptions or self._verdict() is None

    def wait_for_output(self, timeout: float | None = -1) -> bool:
        """Wait until all output is there: when the tasks are done, as output arrives first."""
        return bool(self.wait(timeout))

    @property
    def sent(self) -> bool:
        """True: arguments are pickled when a submission returns and may change after it."""
        return True

    def wait_for_send(self, timeout: float | None = -1) -> bool:
        """Wait until the controller has the tasks; in a cluster with a store, until they are there.

        They leave by themselves. This asks the controller, whose answer comes after all that was
        submitted before: from then on the end of this process does not take them along (see the
        `lease` of a client), nor, with a store, that of the controller. A task that the controller
        refused is done and says why.

        Args:
            timeout: seconds; None or negative for ever. An answer takes a round trip, so with 0
                this only tells whether all are done.

        Returns:
            Whether it is known that the controller has them.
        """
        self._enter()
        if self._tasks.ready():
            return True
        try:
            self._about.client._core.request("queue_status", None, seconds(timeout))
        except TimeoutError:
            return False
        return True

    def abort(self, force: bool | float = False) -> None:
        """As `cancel`, but refuses when there is nothing to cancel; returns at once.

        Args:
            force: As for `cancel`.

        Raises:
            RuntimeError: if all are done.
        """
        if not self.cancel(force):
            raise RuntimeError(f"{self!r} has nothing left to abort: all its tasks are done")

    # --- values

    def get_dict(self, timeout: float | None = -1) -> dict[int, Any]:
        """Wait, and give the value of each task by the id of the engine it ran on.

        Raises:
            ValueError: if two of the tasks ran on one engine.
        """
        self.get(timeout, return_exceptions=False)
        by_engine: dict[int, Any] = {}
        for engine, cell in zip(self._tasks.engines(), self._all_cells(), strict=True):
            if engine in by_engine:
                raise ValueError(
                    f"several tasks ran on engine {engine}: a dict cannot hold them all\n\n"
                    "hint: zip(result.engine_id, result) pairs each value with its engine"
                )
            by_engine[engine or 0] = self._plain(cell)
        return by_engine

    @property
    def result_dict(self) -> dict[int, Any]:
        """The values by engine; waits for them."""
        return self.get_dict()

    def __len__(self) -> int:
        return len(self._tasks)

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Any]:
        """Go through the values in order, waiting for each.

        Raises:
            TypeError: if the result is single.
        """
        if self._single_result:
            raise TypeError(
                f"{self!r} is the result of one call; iterate over its value, which get() gives"
            )
        return self._arriving(True)

    def _arriving(self, ordered: bool) -> Iterator[Any]:
        walk = Walk(self._tasks, self._read(), ordered)
        self._enter()
        while True:
            run = walk.take()
            if run is None:
                self._blocked(walk.block)
                continue
            if not run:
                return
            for index, cell in run:
                yield from self._elements(index, cell)

    def __getitem__(self, key: Any) -> Any:
        """Give metadata by name, or elements of the value by index or slice.

        Raises:
            TimeoutError: if an element asked for is not there yet.
            KeyError: for a name that is no key of metadata.
        """
        if isinstance(key, str):
            return self._column(key)
        if not isinstance(key, (int, slice)):
            raise TypeError(
                f"a result is indexed by int, slice or the name of metadata, not "
                f"{type(key).__name__}"
            )
        if self._single_result:
            return self.get(0)[key]
        if isinstance(key, slice):
            return [self._at(i) for i in range(*key.indices(len(self)))]
        index = key + len(self) if key < 0 else key
        if not 0 <= index < len(self):
            raise IndexError(f"no element {key} in a result of {len(self)}")
        return self._at(index)

    def _at(self, index: int) -> Any:
        (element,) = self._elements(index, self._cell(index))
        return element

    # What follows differs in a map, where a task may hold several items.

    def _elements(self, index: int, cell: Any) -> Sequence[Any]:
        """The elements that one task gives; raises what stands in the way of the first of them."""
        found = failures(cell) if type(cell) in (Failed, Partial) else None
        if found and not self._return_exceptions:
            raise (
                found[0] if len(found) == 1 else error.compose(self._fname, found)
            ).with_traceback(None)
        return (self._plain(cell),)

    def _assemble(self, cells: list[Any], keep: bool) -> Any:
        """The value, exceptions included; `keep` says that there may be some."""
        return (
            self._plain(cells[0]) if self._single_result else [self._plain(cell) for cell in cells]
        )

    def _plain(self, cell: Any) -> Any:
        """One task's outcome as an element of the value."""
        if type(cell) is Failed:
            return cell.error
        if type(cell) is Partial:
            return [item.error if type(item) is Failed else item for item in cell.items]
        # A piece of a map gives a list of items, whether or not its task held several.
        return [cell] if self._map is not None and not self._map[1] else cell

    def _wait_failed(self, timeout: float | None) -> None:
        self._enter()
        tasks = self._tasks
        if not self._blocked(tasks.wait_failed, seconds(timeout)):
            self._late(timeout)
        if tasks.ready():
            return
        for index in tasks.completion_order():
            found = failures(self._cell(index))
            if found:
                raise error.compose(self._fname, found)

    # --- parts and wholes

    def split(self) -> tuple[AsyncResult, ...]:
        """Give one result for each task, the same ones at each call.

        A piece of a list is a list of one. A piece of a map is a list of one element, the list of
        the items of that task.
        """
        pieces: tuple[AsyncResult, ...] | None = self.__dict__.get("_pieces")
        if pieces is None:
            from ._parts import split

            pieces = self.__dict__.setdefault("_pieces", split(self))
        return pieces

    def _shape(self) -> tuple[Any, ...] | None:
        """What makes this a map (ordered, chunked, how parts are joined), or None."""
        return self._map

    @classmethod
    def join(cls, *results: AsyncResult) -> AsyncResult:
        """Make one result of several; the inverse of `split`.

        Args:
            results: of one client. Maps, or pieces of maps, give a map again; others a list.

        Raises:
            ValueError: without results, or if they are of several clients.
        """
        from ._parts import join

        return join(results)


def of_call(about: About, tasks: _oarlock.Tasks) -> AsyncResult:
    """Make the result of a single load-balanced call, which is made so often that it counts."""
    result = _new(AsyncResult)
    result._about = about
    result._tasks = tasks
    return result


_new = AsyncResult.__new__

# Results of other clients' tasks arrive the same way.
AsyncHubResult = AsyncResult
