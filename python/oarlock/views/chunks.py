"""From the sequences of a map to what travels: argument tuples, whole chunks, and their failures.

An argument that cannot be pickled fails its own item and nothing else: a single task ends at once
with that error, and inside a chunk a marker takes the item's place, which the engine hands back as
the outcome of that item.
"""

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from oarlock import _oarlock, error
from oarlock.partition import Columns, sliceable
from oarlock.serialize import dumps_many, loads

Payload = Any  # bytes, or the pickle and its buffers


def columns(sequences: tuple[Iterable[Any], ...]) -> Columns:
    """The argument sequences of a map, all of the length of the shortest.

    Raises:
        TypeError: When there is none, or one cannot be iterated.
    """
    require_sequences(sequences)
    whole = Columns(*map(sliceable, sequences))
    if len(whole.sequences) == 1:
        return whole
    return whole.cut(0, len(whole))


def require_sequences(sequences: tuple[Iterable[Any], ...]) -> None:
    """Raise the TypeError of a map over nothing."""
    if not sequences:
        raise TypeError("map needs at least one sequence after the function")


def checked_chunksize(chunksize: int) -> int:
    """The number of items per task; raises ValueError when it is less than 1."""
    size = operator.index(chunksize)
    if size < 1:
        raise ValueError(f"chunksize must be at least 1, not {chunksize!r}")
    return size


def pack_calls(
    argument_tuples: Iterable[tuple[Any, ...]],
) -> tuple[_oarlock.PackedCalls, dict[int, bytes] | None]:
    """Pickle one call each, of positional arguments only.

    Returns:
        The payloads, and for calls that could not be pickled the outcome by index (None for none).
    """
    rows = list(argument_tuples)
    return _filled(_oarlock.PackedCalls(rows), rows.__getitem__)


def pack_items(
    items: list[Any],
) -> tuple[_oarlock.PackedCalls, dict[int, bytes] | None]:
    """As `pack_calls`, of calls of one argument each, for which no tuples are made."""
    return _filled(_oarlock.PackedCalls.of_items(items), lambda index: (items[index],))


def _filled(
    packed: _oarlock.PackedCalls, row: Callable[[int], tuple[Any, ...]]
) -> tuple[_oarlock.PackedCalls, dict[int, bytes] | None]:
    """`packed`, with what is left in it pickled; `row` gives the arguments of a call."""
    rest = packed.rest
    if not rest:
        return packed, None
    payloads, failed = dumps_many([(row(index), _NO_KEYWORDS) for index in rest])
    packed.fill(payloads)
    return packed, {rest[at]: outcome for at, outcome in failed.items()} or None


_NO_KEYWORDS: dict[str, Any] = {}


def pack_chunks(
    whole: Sequence[Iterable[tuple[Any, ...]]],
) -> tuple[Sequence[Payload], dict[int, bytes] | None]:
    """Pickle chunks; each iterates over argument tuples.

    Returns:
        As `pack_calls`; an index is that of a chunk whose sound items could not be sent either.
    """
    payloads, failed = dumps_many(whole)
    if not failed:
        return payloads, None
    mended = list(payloads)
    hopeless: dict[int, bytes] = {}
    for index, outcome in failed.items():
        again, still_failed = dumps_many([_with_markers(whole[index])])
        if still_failed:
            hopeless[index] = outcome
        else:
            mended[index] = again[0]
    return mended, hopeless or None


def _with_markers(chunk: Iterable[tuple[Any, ...]]) -> list[Any]:
    """The rows of `chunk`, with an `ItemError` in place of each that cannot be pickled."""
    rows: list[Any] = list(chunk)
    _, failed = dumps_many(rows)
    for index, outcome in failed.items():
        rows[index] = error.ItemError(loads([outcome]))
    return rows
