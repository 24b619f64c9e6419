"""Functions, packed once and named by their content.

Pickling a function takes a hundred times as long as submitting a task, so the pickle is kept while
it is sure to be the same: see `shapes`. The name of a function is a hash of its pickle; engines
unpickle each name once, so what a function keeps (a closure's variable, an attribute) lives on
between the tasks of one engine.
"""

import pickle
import weakref
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from typing import Any, Final

from oarlock.reference import Reference
from oarlock.serialize.pickler import Pickler
from oarlock.serialize.shapes import Shape, shapes_of
from oarlock.serialize.unsent import try_again

#: Pickles longer than this, in bytes, are made anew rather than kept in memory twice.
_KEPT_SIZE: Final = 16 * 1024 * 1024

Packed = tuple[bytes, bytes, str]


class Fresh:
    """A function that holds a `Reference`.

    It is unpickled for each call, so that the name is looked up then.
    """

    __slots__ = ("body",)

    def __init__(self, body: bytes) -> None:
        self.body = body

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Look the names up, and call what has come of it."""
        return pickle.loads(self.body)(*args, **kwargs)  # noqa: S301 - came with the task

    def __reduce__(self) -> tuple[Any, ...]:
        return Fresh, (self.body,)


class _Entry:
    __slots__ = ("function", "packed", "shapes")

    def __init__(self, function: weakref.ref[Any], packed: Packed, shapes: list[Shape]) -> None:
        self.function = function
        self.packed = packed
        self.shapes = shapes


# By identity, since two equal callables need not do the same; an entry goes with its function.
_entries: Final[dict[int, _Entry]] = {}


def pack_function(f: Callable[..., Any]) -> Packed:
    """Pack a function, or anything that can be called.

    Args:
        f: Functions and classes of modules go by reference; those of ``__main__``, marked
            `interactive`, nested in others or without a name go by value.

    Returns:
        Its name for the controller (16 bytes, a hash of the pickle), the pickle, and its name for
        people.

    Raises:
        TypeError: It cannot be called.
        SerializationError: It cannot be pickled.
    """
    entry = _entries.get(id(f))
    if entry is not None and entry.function() is f:
        for shape in entry.shapes:
            if not shape.holds():
                break
        else:
            return entry.packed
    return _pack(f)


def name_of(f: Any) -> str:
    """What to call `f` in messages."""
    if isinstance(f, partial):
        return name_of(f.func)
    if isinstance(f, Reference):
        return f.name
    name = getattr(f, "__name__", None)
    return name if isinstance(name, str) else type(f).__name__


def _pack(f: Callable[..., Any]) -> Packed:
    name = name_of(f)
    if not callable(f):
        raise TypeError(
            f"cannot apply {f!r}: its type is {type(f).__name__}, which cannot be called"
        )
    # Taken before the pickle, so that a change meanwhile makes the entry stale, not wrong.
    shapes = shapes_of(f)
    pickler = Pickler(out_of_band=False)
    try:
        pickler.write(f)
    except Exception as cause:
        pickler = try_again(f, cause, pickler, f"function {name}", out_of_band=False)
        shapes = None  # what could not be sent may be another time
    body = b"".join(pickler.chunks)
    if pickler.volatile:
        body = pickle.dumps(Fresh(body), 5)
    packed = (blake2b(body, digest_size=16).digest(), body, name)
    if shapes is not None and len(body) <= _KEPT_SIZE:
        key = id(f)
        _entries[key] = _Entry(weakref.ref(f, lambda _: _entries.pop(key, None)), packed, shapes)
    return packed
