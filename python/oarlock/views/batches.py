"""The input of a load-balanced map, read and pickled batch by batch."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Final

from oarlock import _oarlock, partition
from oarlock.views import chunks

# Items that cross to the core together: enough to make the crossing cheap, few enough that the
# engines start while the rest is pickled (about 1 ms of pickling small items). The first batches
# are smaller, so that engines start at once.
_SIZE: Final = 1024
_FIRST: Final = 64

# What `_oarlock.Client.submit` takes between the function and the targets' own arguments: kind,
# payloads, items of each task (None: one each), outcomes of those that could not be pickled.
Batch = tuple[int, Any, list[int] | None, dict[int, bytes] | None]


def batch_rows(sequences: tuple[Iterable[Any], ...]) -> Iterator[Batch]:
    """One task for each row of arguments."""
    pack: Callable[[list[Any]], Any] = chunks.pack_calls
    rows: Iterator[Any] = zip(*sequences, strict=False)
    if len(sequences) == 1:
        # A third of the time: no tuple is made for each item.
        pack, rows = chunks.pack_items, iter(sequences[0])
    size = _FIRST
    while batch := list(islice(rows, size)):
        payloads, failed = pack(batch)
        yield _oarlock.APPLY, payloads, None, failed
        size = min(4 * size, _SIZE)


def batch_chunks(sequences: tuple[Iterable[Any], ...], size: int) -> Iterator[Batch]:
    """One task for each `size` rows of arguments; the last may have fewer."""
    cuts = _cut(sequences, size)
    while batch := list(islice(cuts, max(1, _SIZE // size))):
        payloads, failed = chunks.pack_chunks(batch)
        yield _oarlock.CHUNK, payloads, [len(chunk) for chunk in batch], failed


def _cut(sequences: tuple[Iterable[Any], ...], size: int) -> Iterator[Any]:
    """Chunks of `size` calls: slices where all sequences have them, else lists of rows."""
    if all(map(partition.has_slices, sequences)):
        columns = partition.Columns(*sequences)
        for start in range(0, len(columns), size):
            yield columns.cut(start, min(start + size, len(columns)))
        return
    rows = zip(*sequences, strict=False)
    while chunk := list(islice(rows, size)):
        yield chunk
