"""What tasks gave, each unpickled once, when somebody asks.

A *cell* is what one task gave: its value, a `Failed`, or a `Partial` for a chunk of which some
items failed. Reading a cell frees the bytes it came from. Several results may share cells (the
pieces of `split`, the whole of `join`), so that a failed task is one exception object however it is
reached.
"""

import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from oarlock import error
from oarlock.serialize import loads, unpack_error

if TYPE_CHECKING:
    from oarlock import _oarlock

# The status numbers of `_oarlock`, which is not imported here so that this file needs no extension.
PENDING, OK, ERROR, PARTIAL, CANCELLED, LOST, REFUSED, GONE, TIMED_OUT, POISON = range(10)

# Seconds to fetch once more from the controller what another result of the same task has freed.
_FETCH_AGAIN = 10.0

# Guards the moment in which a cell is filled, or a result gets its cells; never held while anything
# is unpickled.
store = threading.Lock()


def _renew_lock() -> None:
    global store
    store = threading.Lock()


# Another thread of the parent may have held it at the moment of the fork.
os.register_at_fork(after_in_child=_renew_lock)


class Failed:
    """The cell of a task, or the place of an item, that gave an exception."""

    __slots__ = ("error",)

    def __init__(self, failure: Exception) -> None:
        self.error = failure


class Partial:
    """The cell of a chunk of which some items failed: values, with `Failed` in their places."""

    __slots__ = ("items",)

    def __init__(self, items: list[Any]) -> None:
        self.items = items


class _Unread:
    __slots__ = ()


UNREAD = _Unread()


class Cells(Protocol):
    """Where results read what their tasks gave."""

    def read(self, indexes: Sequence[int]) -> list[Any]:
        """Give these cells; their tasks are done."""
        ...

    def source(self, index: int) -> tuple["Cells", int]:
        """Say who unpickles cell `index`, and which it is there."""
        ...


class Outcomes:
    """The cells of one set of tasks.

    Args:
        core: the client's compiled part.
        tasks: the tasks.
    """

    __slots__ = ("_cells", "_core", "_tasks")

    def __init__(self, core: "_oarlock.Client", tasks: "_oarlock.Tasks") -> None:
        self._core = core
        self._tasks = tasks
        self._cells: list[Any] = [UNREAD] * len(tasks)

    def source(self, index: int) -> tuple[Cells, int]:
        """Say who unpickles cell `index`, and which it is there."""
        return self, index

    def read(self, indexes: Sequence[int]) -> list[Any]:
        """Give these cells; their tasks are done."""
        known = self._cells
        cells = [known[i] for i in indexes]
        fresh = [at for at, cell in enumerate(cells) if cell is UNREAD]
        if not fresh:
            return cells
        wanted = indexes if len(fresh) == len(cells) else [indexes[at] for at in fresh]
        self._fill(cells, fresh, wanted)
        with store:
            for at in fresh:
                index = indexes[at]
                if known[index] is UNREAD:
                    known[index] = cells[at]
                else:  # another thread was faster
                    cells[at] = known[index]
        if len(fresh) == len(known):
            self._tasks.release()
        else:
            self._tasks.release([indexes[at] for at in fresh])
        return cells

    def _fill(self, cells: list[Any], places: Sequence[int], indexes: Sequence[int]) -> None:
        """Put these cells into those places."""
        # Small plain values need not be unpickled one by one.
        values = self._tasks.values(indexes, UNREAD)
        for at, index, value in zip(places, indexes, values, strict=True):
            cells[at] = self._read(index) if value is UNREAD else value

    def _read(self, index: int) -> Any:
        tasks = self._tasks
        status = tasks.status(index)
        if status not in (OK, ERROR, PARTIAL):
            return Failed(_withdrawn(tasks, index, status))
        parts = tasks.parts(index)
        if parts is None:
            there = self._cells[index]  # read by another thread meanwhile?
            return self._fetch(index) if there is UNREAD else there
        return self._unpickle(tasks, index, status, parts)

    def _unpickle(
        self, tasks: "_oarlock.Tasks", index: int, status: int, parts: Sequence[Any]
    ) -> Any:
        try:
            if status == ERROR:
                failure = unpack_error(parts, tasks.engine(index))
                return Failed(
                    failure
                    if isinstance(failure, Exception)
                    else error.RemoteError(*_named(failure))
                )
            value = loads(parts)
            if status == PARTIAL:
                return Partial(
                    [_item(value_or_marker, tasks.engine(index)) for value_or_marker in value]
                )
            return value
        except MemoryError:
            raise  # says nothing about the task; the next attempt may succeed
        except Exception as cause:
            return Failed(_unreadable(tasks, index, cause))

    def _fetch(self, index: int) -> Any:
        """Read a cell whose bytes were freed, from what the controller still keeps."""
        (msg_id,) = self._tasks.pick([index]).msg_ids()
        try:
            kept = self._core.watch([msg_id])
            parts = kept.parts(0) if kept.wait(_FETCH_AGAIN) else None
            status = kept.status(0)
        except (ConnectionError, RuntimeError):
            parts, status = None, PENDING
        if parts is None or status not in (OK, ERROR, PARTIAL):
            return Failed(
                error.ResultUnreadable(
                    f"the value of task {msg_id} was given to another result object "
                    "and is no longer kept\n\n"
                    "hint: keep the AsyncResult that `get` was called on"
                )
            )
        return self._unpickle(kept, 0, status, parts)


class Given:
    """The cell of one task whose value was there without unpickling.

    Args:
        cell: the cell.
    """

    __slots__ = ("_cell",)

    def __init__(self, cell: Any) -> None:
        self._cell = cell

    def source(self, index: int) -> tuple[Cells, int]:
        """Say who gives cell `index`, and which it is there."""
        return self, index

    def read(self, indexes: Sequence[int]) -> list[Any]:
        """Give this cell."""
        return [self._cell for _ in indexes]


class Picked:
    """Cells of others, in an order of its own.

    Args:
        sources: who unpickles each cell, and which it is there.
    """

    __slots__ = ("_sources",)

    def __init__(self, sources: list[tuple[Cells, int]]) -> None:
        self._sources = sources

    def source(self, index: int) -> tuple[Cells, int]:
        """Say who unpickles cell `index`, and which it is there."""
        return self._sources[index]

    def read(self, indexes: Sequence[int]) -> list[Any]:
        """Give these cells; their tasks are done."""
        cells = []
        for owner, there in map(self._sources.__getitem__, indexes):
            cells += owner.read((there,))
        return cells


def failures(cell: Any) -> list[Exception]:
    """The exceptions in a cell, one for each item that gave one."""
    kind = type(cell)
    if kind is Failed:
        return [cell.error]
    if kind is Partial:
        return [item.error for item in cell.items if type(item) is Failed]
    return []


def _item(value: Any, engine: int | None) -> Any:
    if not isinstance(value, error.ItemError):
        return value
    description = dict(value.description)
    info = dict(description.get("engine_info") or {})
    info.setdefault("engine_id", engine)
    description["engine_info"] = info
    return Failed(error.make_remote(description))


def _withdrawn(tasks: "_oarlock.Tasks", index: int, status: int) -> Exception:
    """The exception of a task that ended without an outcome of its own."""
    (msg_id,) = tasks.pick([index]).msg_ids()
    if status == LOST:
        return error.EngineLost(msg_id, **tasks.loss(index))
    if status == POISON:
        return error.PoisonTask(msg_id, **tasks.loss(index))
    if status == TIMED_OUT:
        return error.TaskTimeout(
            f"task {msg_id} ran longer than its timeout on engine {tasks.engine(index)} and was "
            "interrupted\n\nhint: give it more time (`view.timeout`), or less to do"
        )
    if status == CANCELLED:
        engine = tasks.engine(index)
        when = (
            "before it was started"
            if tasks.stamps(index)[1] is None
            else f"while it ran on engine {engine}"
        )
        why = f"; {more}" if (more := tasks.refusal(index)) else ""
        return error.TaskCancelled(f"task {msg_id} was cancelled {when}{why}")
    why = tasks.refusal(index)
    if status == GONE:
        gone = error.ClosedClient if "client was closed" in why else error.ControllerLost
        return gone(f"task {msg_id} was unfinished and its outcome will not arrive: {why}")
    if why.startswith("no engine was there"):
        return error.NoEnginesRegistered(f"task {msg_id} was not run: {why}")
    kind = error.UnknownTask if why.startswith("no such task") else error.TaskRefused
    return kind(f"task {msg_id} was refused: {why}")


def _unreadable(tasks: "_oarlock.Tasks", index: int, cause: Exception) -> Exception:
    (msg_id,) = tasks.pick([index]).msg_ids()
    failure = error.ResultUnreadable(
        f"task {msg_id} ran on engine {tasks.engine(index)}, but what it gave cannot be unpickled "
        f"here: {type(cause).__name__}: {cause}; other tasks are not affected\n\n"
        "hint: the modules the value needs must be importable in this process too"
    )
    failure.__cause__ = cause
    return failure


def _named(failure: BaseException) -> tuple[str, str]:
    return type(failure).__name__, str(failure)
