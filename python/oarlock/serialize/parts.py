"""Objects to parts and back.

Parts are a pickle, then the buffers it refers to. What cannot be pickled is reported as
`error.SerializationError` with the place of the culprit, and the next object starts afresh.
"""

from __future__ import annotations

import _pickle as pickle  # which needs much less than the module around it

from oarlock.serialize import buffers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, Final

    from oarlock.serialize.pickler import Pickler

    #: A pickle, then its buffers.
    Parts = list[Any]

__all__ = ["dumps", "dumps_many", "loads"]

PROTOCOL: Final = 5

# Picklers at rest. One is taken out for each dump, so that a dump inside a dump (a `__reduce__` of
# a user may call us) or in another thread has its own; append and pop are atomic.
_idle: Final[list[Pickler]] = []
_IDLE_MAX: Final = 8

_PLAIN: Final = frozenset({int, float, bool, type(None)})

#: A pickler that wrote more than this, in bytes, has a large memo: it is not worth keeping.
_KEPT_SIZE: Final = 1024 * 1024


def dumps(obj: Any, root: str | None = None) -> Parts:
    """Pickle `obj`.

    Args:
        obj: Anything; functions and classes of ``__main__`` go by value.
        root: What to call `obj` in the error; by default it is taken for ``(args, kwargs)``
            when it looks like that, else called ``value``.

    Returns:
        The pickle and the buffers it refers to, which are not copied: change them only when
        the task is done.

    Raises:
        SerializationError: Something in it cannot be pickled; the original error is the cause.

    Example:
        >>> loads(dumps([1, 2]))
        [1, 2]
    """
    kind = type(obj)
    if kind in _PLAIN or (kind in (str, bytes) and len(obj) < buffers.CARRIED):
        return [pickle.dumps(obj, PROTOCOL)]
    pickler = _idle.pop() if _idle else _new()
    try:
        pickler.write(obj)
    except Exception as cause:
        from oarlock.serialize.unsent import try_again

        return _collect(obj, try_again(obj, cause, pickler, root))
    parts = _collect(obj, pickler)
    if len(parts[0]) < _KEPT_SIZE and len(_idle) < _IDLE_MAX:
        pickler.reset()
        _idle.append(pickler)
    return parts


def dumps_many(objects: Iterable[Any]) -> tuple[list[bytes | Parts], dict[int, bytes]]:
    """Pickle each of `objects` by itself, as it is.

    Args:
        objects: For tasks that apply a function, ``(args, kwargs)``; for tasks that run a chunk,
            something that iterates over tuples of arguments.

    Returns:
        A payload for each (its pickle, or the pickle and its buffers), and for those that could not
        be pickled, by index, the packed error; their payload is empty.
    """
    payloads: list[bytes | Parts] = []
    failed: dict[int, bytes] = {}
    add = payloads.append
    pickler = _new()
    write, forget = pickler.write, pickler.clear_memo
    chunks, views = pickler.chunks, pickler.views
    for obj in objects:
        try:
            write(obj)
        except Exception as cause:
            parts = _mend(obj, cause, pickler, len(payloads), failed)
            pickler = _new()
            write, forget = pickler.write, pickler.clear_memo
            chunks, views = pickler.chunks, pickler.views
        else:
            if len(chunks) == 1 and pickler.plain and not views:
                add(chunks.pop())
                forget()
                continue
            parts = _collect(obj, pickler)
            pickler.reset()
        add(parts if len(parts) > 1 else parts[0])
    return payloads, failed


def loads(parts: Sequence[Any]) -> Any:
    """The object of which `dumps` made `parts`.

    Args:
        parts: The pickle, then its buffers; arrays use the memory of these, and can be written to
            where that can.

    Raises:
        Exception: Whatever the objects inside raise when they are made anew.
    """
    # Only clients and engines of one user get here.
    if len(parts) == 1:
        return pickle.loads(parts[0])
    return pickle.loads(parts[0], buffers=parts[1:])


def _new() -> Pickler:
    # Loaded when it is first needed: an engine starts without it and may never need it.
    from oarlock.serialize.pickler import Pickler

    return Pickler()


def _collect(obj: Any, pickler: Pickler) -> Parts:
    """The parts of `obj`, which `pickler` has just written."""
    chunks = pickler.chunks
    if len(chunks) > 1 and buffers.holds_large(chunks):
        carried = buffers.carry(obj)
        if carried is not obj:
            pickler.reset()
            pickler.write(carried)
    return [chunks[0] if len(chunks) == 1 else b"".join(chunks), *pickler.views]


def _mend(
    obj: Any, cause: Exception, broken: Pickler, index: int, failed: dict[int, bytes]
) -> Parts:
    """The parts of `obj` after a failure, or empty ones and the reason in `failed`."""
    from oarlock.serialize.failures import pack_error
    from oarlock.serialize.unsent import try_again

    try:
        return _collect(obj, try_again(obj, cause, broken, None))
    except Exception as failure:
        failed[index] = pack_error(failure, {"engine_id": None, "method": "submit"})
        return [b""]
