"""Goes through the outcomes of a result while they arrive.

Outcomes are taken in runs of what is there, so that a map of many small tasks costs a fraction of a
wait per item. Runs grow from one: the first item is given as soon as it is there.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from . import _outcomes

if TYPE_CHECKING:
    from oarlock import _oarlock

_LONGEST_RUN = 256
# Asking for the order of completion costs time in proportion to what is done. Beyond this many done
# tasks the walk gathers a fiftieth more, for at most 2 ms, before it asks again.
_MANY, _SHARE, _GATHER = 1000, 50, 0.002


class Walk:
    """A position among the outcomes of tasks.

    Args:
        tasks: the tasks.
        cells: their outcomes.
        ordered: in order of submission; else in order of completion.
    """

    __slots__ = ("_at", "_cells", "_count", "_longest", "_order", "_ordered", "_seen", "_tasks")

    def __init__(self, tasks: "_oarlock.Tasks", cells: _outcomes.Cells, ordered: bool) -> None:
        self._tasks = tasks
        self._cells = cells
        self._ordered = ordered
        self._count = len(tasks)
        self._at = 0
        self._longest = 1
        # What is done and was not given yet, the next one last; and which tasks were ever in there.
        self._order: list[int] = []
        self._seen = bytearray(0 if ordered else self._count)

    def take(self) -> list[tuple[int, Any]] | None:
        """Give the next run of ``(index, cell)``.

        Returns:
            An empty list after the last, None if the next one is not there yet.
        """
        if self._at >= self._count:
            return []
        run = self._next_in_order() if self._ordered else self._next_done()
        if not run:
            return None
        self._at += len(run)
        self._longest = min(2 * self._longest, _LONGEST_RUN)
        return list(zip(run, self._cells.read(run), strict=True))

    def _next_in_order(self) -> Sequence[int]:
        start = self._at
        return range(start, start + self._tasks.done_from(start, self._longest))

    def _next_done(self) -> Sequence[int]:
        if not self._order:
            self._order = self._tasks.newly_done(self._seen)
            self._order.reverse()
        run = self._order[: -self._longest - 1 : -1]
        del self._order[-self._longest :]
        return run

    def wanted(self) -> dict[str, int]:
        """Say for which task, or how many, `Tasks.notify` is to wait."""
        return {"index": self._at} if self._ordered else {"count": self._at + 1}

    def block(self) -> None:
        """Wait until `take` has something to give."""
        if self._ordered:
            self._tasks.wait_task(self._at, None)
            return
        self._tasks.wait_count(self._at + 1, None)
        if self._at > _MANY:
            self._tasks.wait_count(min(self._count, self._at + self._at // _SHARE), _GATHER)
