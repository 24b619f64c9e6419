"""`AsyncMapResult`: the result of a map, which counts items rather than tasks.

It is iterated over from the first result on, as often as wanted, each time from the start: in
order, or in order of completion if the map is unordered. A failed item raises its own exception
where it stands; the items before it are given first.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from ._outcomes import Cells, Failed, Partial
from ._walk import Walk
from .result import AsyncResult

if TYPE_CHECKING:
    from oarlock import _oarlock

    from ._about import About


class AsyncMapResult(AsyncResult):
    """The result of a map.

    Attributes:
        ordered: whether iteration is in order of submission.

    Example:
        >>> squares = lview.map_async(lambda x: x * x, range(1000))
        >>> sum(squares)
        332833500
        >>> squares[10:13]
        [100, 121, 144]
    """

    def __init__(
        self,
        about: About,
        tasks: _oarlock.Tasks,
        *,
        ordered: bool = True,
        chunked: bool = True,
        join_parts: Callable[[list[Any]], Any] | None = None,
        cells: Cells | None = None,
    ) -> None:
        """Stand for the tasks of a map; the arguments are for views.

        Args:
            about: what was asked for, which other results may share.
            tasks: the tasks.
            ordered: iterate in order of submission; else of completion.
            chunked: each task's value is a list of items; else one item.
            join_parts: makes the value of the list of the tasks' values, instead of joining lists.
            cells: outcomes shared with other results.
        """
        super().__init__(about, tasks, cells=cells)
        self.ordered = ordered
        self._chunked = chunked
        self._join_parts = join_parts

    def _shape(self) -> tuple[Any, ...] | None:
        return self.ordered, self._chunked, self._join_parts

    # --- counting items

    def __len__(self) -> int:
        if self._join_parts is not None and self._tasks.ready() and not self._tasks.has_failed():
            return len(self.get())
        return self._tasks.items()

    @property
    def progress(self) -> int:
        """How many items are done, also inside chunks that still run; ``len(self)`` at the end."""
        if self._join_parts is not None and self._tasks.ready():
            return len(self)
        return self._tasks.items_done()

    def _count(self, index: int) -> int:
        """How many items one task has."""
        counts = self._tasks.item_counts()
        return counts[index] if counts is not None else 1

    # --- iterating

    def __iter__(self) -> Iterator[Any]:
        """Go through the items from the first result on, waiting for each."""
        if self._join_parts is not None:
            return iter(self.get())  # only the whole is what it should be
        return self._arriving(self.ordered)

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Go through the items from the first result on, in a coroutine."""
        if self._join_parts is not None:
            for item in await self:
                yield item
            return
        walk = Walk(self._tasks, self._read(), self.ordered)
        self._enter()
        while True:
            run = walk.take()
            if run is None:
                await self._until(**walk.wanted())
                self._enter()
                continue
            if not run:
                return
            for index, cell in run:
                for item in self._elements(index, cell):
                    yield item

    def _elements(self, index: int, cell: Any) -> Iterator[Any]:  # type: ignore[override]
        """The items one task gave. A failed one is raised when its turn comes."""
        keep = self._return_exceptions
        if type(cell) is Failed:
            if not keep:
                raise cell.error.with_traceback(None)
            return iter([cell.error] * self._count(index))
        if type(cell) is Partial:
            return iter(_with_errors(cell)) if keep else _up_to_error(cell)
        return iter(cell) if self._chunked else iter((cell,))

    def __getitem__(self, key: Any) -> Any:
        """Give metadata by name, or items by index or slice, also while others run."""
        if self._join_parts is not None and not isinstance(key, str):
            return self.get(0)[key]
        return super().__getitem__(key)

    def _at(self, index: int) -> Any:
        counts = self._tasks.item_counts() if self._chunked else None
        if counts is None:
            task, offset = index, 0
        else:
            ends: list[int] = self.__dict__.setdefault("_ends", list(accumulate(counts)))
            task = bisect_right(ends, index)
            offset = index - (ends[task - 1] if task else 0)
        cell = self._cell(task)
        if isinstance(cell, (Failed, Partial)):
            item = cell if isinstance(cell, Failed) else cell.items[offset]
            if type(item) is Failed and not self._return_exceptions:
                raise item.error.with_traceback(None)
            return item.error if type(item) is Failed else item
        return cell[offset] if self._chunked else cell

    # --- the whole

    def _plain(self, cell: Any) -> Any:
        return _with_errors(cell) if type(cell) is Partial else super()._plain(cell)

    def _assemble(self, cells: list[Any], keep: bool) -> Any:
        failed = keep and any(type(cell) in (Failed, Partial) for cell in cells)
        if self._join_parts is not None and not failed:
            return self._join_parts(cells)
        if not self._chunked and not failed:
            return cells
        items: list[Any] = []
        counts = self._tasks.item_counts() if failed else None
        for index, cell in enumerate(cells):
            if type(cell) is Failed:
                items += [cell.error] * (counts[index] if counts is not None else 1)
            elif type(cell) is Partial:
                items += _with_errors(cell)
            elif self._chunked:
                items.extend(cell)
            else:
                items.append(cell)
        return items


def _with_errors(cell: Partial) -> list[Any]:
    return [item.error if type(item) is Failed else item for item in cell.items]


def _up_to_error(cell: Partial) -> Iterator[Any]:
    for item in cell.items:
        if type(item) is Failed:
            raise item.error.with_traceback(None)
        yield item
