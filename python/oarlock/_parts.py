"""One result made of several, and several of one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ._about import About
from ._outcomes import Picked

if TYPE_CHECKING:
    from .result import AsyncResult


def split(result: "AsyncResult") -> tuple["AsyncResult", ...]:
    """Make one result for each task; of one task, that result."""
    from .result import AsyncResult

    if len(result._tasks) == 1:
        return (result,)
    shape, targets, pieces = result._shape(), result._targets, []
    for index in range(len(result._tasks)):
        about = About(
            result._client,
            result._fname,
            targets[index : index + 1] if isinstance(targets, Sequence) else targets,
            single=result._single_result,
            label=result._label,
            return_exceptions=result._return_exceptions,
        )
        cells = Picked([result._read().source(index)])
        piece = AsyncResult(about, result._tasks.pick([index]), cells=cells)
        piece._map = shape
        pieces.append(piece)
    return tuple(pieces)


def join(results: Sequence["AsyncResult"], *, listed: bool = False) -> "AsyncResult":
    """Make one result of `results`, which keep what they have.

    Args:
        results: of one client.
        listed: give a list also of one result whose value is bare.

    Returns:
        A map if all are maps or pieces of maps of one kind, otherwise a list with one element for
        each task; of one result, that result.

    Raises:
        ValueError: without results, or if they are of several clients.
    """
    from .mapresult import AsyncMapResult
    from .result import AsyncResult

    if not results:
        raise ValueError("join needs at least one result")
    first = results[0]
    if len(results) == 1 and not (listed and first._single_result):
        return first
    if any(result._client._core is not first._client._core for result in results):
        raise ValueError(
            "results of several clients cannot be joined: each waits for its own client"
        )
    tasks = type(first._tasks).join([result._tasks for result in results])
    sources = [result._read().source(i) for result in results for i in range(len(result._tasks))]
    about = About(
        first._client,
        first._fname,
        _targets(results),
        label=first._label,
        return_exceptions=any(result._return_exceptions for result in results),
    )
    cells = Picked(sources)
    shape = first._shape()
    if shape is not None and all(result._shape() == shape for result in results):
        ordered, chunked, join_parts = shape
        return AsyncMapResult(
            about, tasks, ordered=ordered, chunked=chunked, join_parts=join_parts, cells=cells
        )
    return AsyncResult(about, tasks, cells=cells)


def _targets(results: Sequence["AsyncResult"]) -> list[int] | None:
    """The engines asked for, if all results say."""
    targets: list[int] = []
    for result in results:
        if result._targets is None:
            return None
        targets += [result._targets] if isinstance(result._targets, int) else list(result._targets)
    return targets
