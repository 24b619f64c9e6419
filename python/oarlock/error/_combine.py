"""Exceptions of an engine made into exceptions here: at once `RemoteError` and their own type.

The class of such an exception has two bases, `RemoteError` and the original type, so that
``except ValueError`` and ``except RemoteError`` both catch it. Not every type can be combined:
exits and interrupts must not end this process, ``StopIteration`` would end a loop in silence, and
some classes refuse subclasses or have a memory layout of their own. `combine` gives None for these
and the caller falls back to a plain `RemoteError`.
"""

from __future__ import annotations

import types
import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

_HEAP_TYPE = 1 << 9
_FIELDS = (types.MemberDescriptorType, types.GetSetDescriptorType)

# By original type, then by ours. The combined class refers to its base: a strong value would keep
# the key alive.
_combined: weakref.WeakKeyDictionary[type, dict[type, weakref.ref[type]]] = (
    weakref.WeakKeyDictionary()
)


def combine(remote_error: type[Exception], original: type[BaseException]) -> type[Exception] | None:
    """Give the class that is both.

    Args:
        remote_error: `RemoteError` or `CompositeError`.
        original: the type of the exception on the engine.

    Returns:
        The same class for the same pair while it is in use, or None if they cannot be combined.
    """
    if issubclass(original, remote_error):
        # Raised again on an engine: combine with what it was in the first place.
        original = getattr(original, "remote_type", None) or BaseException
    if not issubclass(original, Exception) or issubclass(
        original, (StopIteration, StopAsyncIteration)
    ):
        return None
    known = _combined.setdefault(original, {})
    made = known[remote_error]() if remote_error in known else None
    if made is not None:
        return made
    body = {
        "__module__": remote_error.__module__,
        "__doc__": f"{original.__qualname__} raised on an engine.",
        "remote_type": original,
    }
    try:
        name = remote_error.__name__.removesuffix("Error") + original.__name__
        made = type(name, (remote_error, original), body)
    except Exception:
        # Layout, metaclass or a base that refuses subclasses; their errors are of any type.
        return None
    known[remote_error] = weakref.ref(made)
    return made


def common(exceptions: Sequence[BaseException]) -> type[Exception] | None:
    """Give the narrowest type, below `Exception`, that all of these had on their engines."""
    originals = [getattr(type(e), "remote_type", None) for e in exceptions]
    first, *others = originals
    for kind in getattr(first, "__mro__", ()):
        if kind is Exception:
            break
        if all(other is not None and issubclass(other, kind) for other in others):
            return kind if issubclass(kind, Exception) else None
    return None


class Snapshot(NamedTuple):
    """What an exception consists of, apart from its history."""

    kind: type[BaseException]
    args: tuple[Any, ...]
    fields: dict[str, Any]
    state: dict[str, Any]


def snapshot(original: BaseException) -> Snapshot:
    """Take an exception apart: type, ``args``, built-in fields and slots, instance attributes."""
    fields: dict[str, Any] = {}
    for kind in reversed(type(original).__mro__):
        for name, field in vars(kind).items():
            if name.startswith("__") or not isinstance(field, _FIELDS):
                continue  # traceback, cause and the like belong to the exception's history
            try:
                value = field.__get__(original, kind)
            except (AttributeError, TypeError):
                continue  # not set there
            if value is not None:
                fields[name] = value
    state = {name: value for name, value in original.__dict__.items() if name != "__notes__"}
    return Snapshot(type(original), original.args, fields, state)


def build(cls: type[BaseException], taken: Snapshot) -> BaseException:
    """Make an instance of `cls` with what a snapshot holds.

    The constructor of the original type is not called: it may want other arguments than those it
    left in ``args``. Only the built-in base, whose layout holds the fields, is initialised.

    Args:
        cls: the snapshot's own type, or a class `combine` gave for it.
        taken: what the instance is to consist of.

    Returns:
        The new exception, without traceback, cause, context and notes.

    Raises:
        Exception: whatever the original type raises when it refuses; the caller falls back.
    """
    base: Any = next(b for b in cls.__mro__ if not b.__flags__ & _HEAP_TYPE)
    made: BaseException = base.__new__(cls, *taken.args)
    base.__init__(made, *taken.args)
    for name, value in taken.fields.items():
        try:
            setattr(made, name, value)
        except (AttributeError, TypeError):
            continue  # read-only
    made.__dict__.update(taken.state)
    return made
