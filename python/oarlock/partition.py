"""How a sequence is cut for several engines and how the parts become one value again.

Two ways of cutting: `Block` gives each engine one contiguous run, `RoundRobin` deals the items out
like cards. Both keep the type of what they cut (a list gives lists, an array gives views of it), so
that the parts travel as compactly as the whole would. `Columns` is what a chunk of a map looks like
on the wire: the argument sequences side by side, zipped only where the function runs.

Nothing here knows of engines, and numpy is used only when the caller's data already comes from it.
"""

import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, Protocol

# Slicing one of these and iterating the slice gives what iterating the whole gives. Subclasses may
# override either, and mappings, frames and the like index by key: all of those are listed instead.
_SLICEABLE: Final = frozenset({list, tuple, range, str, bytes, bytearray, array})


def is_array(obj: object) -> bool:
    """Whether `obj` is a numpy array with at least one axis; never imports numpy."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(obj, numpy.ndarray) and obj.ndim > 0


def has_slices(seq: object) -> bool:
    """Whether a slice of `seq` iterates like the whole."""
    return type(seq) in _SLICEABLE or is_array(seq)


def sliceable(seq: Iterable[Any]) -> Any:
    """`seq` itself where a slice of it iterates like the whole, else a list of its items.

    Args:
        seq: Any iterable; a generator is consumed.

    Returns:
        Something with ``len`` and slices.

    Raises:
        TypeError: When `seq` cannot be iterated.
    """
    return seq if has_slices(seq) else list(seq)


def bounds(n: int, q: int) -> list[tuple[int, int]]:
    """Cut `n` items into `q` contiguous runs whose lengths differ by at most one.

    Args:
        n: Number of items.
        q: Number of runs, at least 1. The first ``n % q`` runs are the longer ones.

    Returns:
        ``(start, stop)`` of each run; empty runs come last.

    Raises:
        ValueError: When `q` is less than 1.

    Example:
        >>> bounds(5, 2)
        [(0, 3), (3, 5)]
    """
    if q < 1:
        raise ValueError(f"cannot cut a sequence into {q} parts: at least 1 is needed")
    size, longer = divmod(n, q)
    cuts = [p * size + min(p, longer) for p in range(q + 1)]
    return list(pairwise(cuts))


class Partitioner(Protocol):
    """A way to cut a sequence and its inverse."""

    def split(self, seq: Any, q: int) -> list[Any]:
        """The `q` parts of `seq`, which has ``len`` and slices."""

    def join(self, parts: Sequence[Any]) -> Any:
        """What the parts were cut from, in the original order."""


class Block:
    """Contiguous parts: ``[0, 1, 2], [3, 4]``."""

    def split(self, seq: Any, q: int) -> list[Any]:
        """Cut `seq` into `q` contiguous parts, the longer ones first."""
        return [seq[start:stop] for start, stop in bounds(len(seq), q)]

    def join(self, parts: Sequence[Any]) -> Any:
        """Put the parts one after the other.

        Arrays are concatenated; lists, tuples and ranges give one flat list; parts of any other
        kind (or of mixed kinds) are returned as a list with one entry per part.
        """
        if not parts:
            return []
        if all(map(is_array, parts)):
            return sys.modules["numpy"].concatenate(parts)
        if all(isinstance(part, list | tuple | range) for part in parts):
            return [item for part in parts for item in part]
        return list(parts)


class RoundRobin:
    """Items dealt out in turn: ``[0, 2, 4], [1, 3]``."""

    def split(self, seq: Any, q: int) -> list[Any]:
        """Deal `seq` out to `q` parts."""
        if q < 1:
            raise ValueError(f"cannot deal a sequence out to {q} parts: at least 1 is needed")
        return [seq[p::q] for p in range(q)]

    def join(self, parts: Sequence[Any]) -> Any:
        """Interleave the parts: first item of each, second item of each, and so on.

        Kinds are treated as by `Block.join`; an array keeps the parts' common type of number.
        """
        if not parts:
            return []
        if all(map(is_array, parts)):
            return self._interleave_arrays(parts)
        if all(isinstance(part, list | tuple | range) for part in parts):
            longest = max(map(len, parts))
            return [part[i] for i in range(longest) for part in parts if i < len(part)]
        return list(parts)

    @staticmethod
    def _interleave_arrays(parts: Sequence[Any]) -> Any:
        numpy = sys.modules["numpy"]
        total = sum(map(len, parts))
        shape = (total, *parts[0].shape[1:])
        whole = numpy.empty(shape, dtype=numpy.result_type(*parts))
        for p, part in enumerate(parts):
            whole[p :: len(parts)] = part
        return whole


_DISTS: Final[dict[str, Partitioner]] = {"b": Block(), "r": RoundRobin()}


def partitioner(dist: str) -> Partitioner:
    """The partitioner named `dist`: ``'b'`` for blocks, ``'r'`` for round robin.

    Raises:
        KeyError: For any other name.
    """
    try:
        return _DISTS[dist]
    except (KeyError, TypeError):
        raise KeyError(
            f"no distribution named {dist!r}; there are 'b' (block) and 'r' (round robin)"
        ) from None


class Columns:
    """The arguments of the calls in one chunk, kept as sequences side by side.

    A slice of a range, an array or a list pickles as one object, where a list of argument tuples
    would pickle as many. Iteration yields one tuple of arguments per call, as many as the shortest
    sequence has items.

    Example:
        >>> list(Columns(range(2), 'ab'))
        [(0, 'a'), (1, 'b')]
    """

    __slots__ = ("sequences",)

    def __init__(self, *sequences: Any) -> None:
        """Hold `sequences`, each with ``len``."""
        self.sequences = sequences

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Yield the argument tuple of each call."""
        return zip(*self.sequences, strict=False)

    def __len__(self) -> int:
        """Number of calls."""
        return min(map(len, self.sequences), default=0)

    def __reduce__(self) -> tuple[type["Columns"], tuple[Any, ...]]:
        """Travel as the sequences alone."""
        return Columns, self.sequences

    def cut(self, start: int, stop: int) -> "Columns":
        """The calls `start` to `stop`."""
        return Columns(*(seq[start:stop] for seq in self.sequences))
