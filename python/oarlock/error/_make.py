"""Descriptions of exceptions made into exceptions, and back."""

from __future__ import annotations

import sys
import traceback as _traceback
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from oarlock import error  # classes are looked up there when they are needed

from . import _combine
from ._sources import with_sources

_T = TypeVar("_T")


def make_remote(description: Mapping[str, Any]) -> error.RemoteError:
    """Make the exception that tells of one on an engine.

    Args:
        description: ``ename``, ``evalue``, ``traceback`` (text or None), ``engine_info`` (dict),
            ``exception`` (the object, None if it did not survive the way), ``notes`` (its notes).

    Returns:
        A `RemoteError` that is also of the exception's own type where the two can be combined; its
        last note is the remote traceback, so that an ordinary traceback shows it.
    """
    text = with_sources(str(description.get("traceback") or "")) or None
    info = dict(description.get("engine_info") or {})
    original = description.get("exception")
    ename, evalue = str(description.get("ename")), str(description.get("evalue"))
    made = _typed(original) if isinstance(original, BaseException) else None
    if made is None:
        made = error.RemoteError(ename, evalue, text, info)
    made.__dict__.update(
        ename=ename, evalue=evalue, traceback=text, engine_info=info, original=original
    )
    notes = [str(note) for note in description.get("notes") or ()]
    for note in notes:
        made.add_note(note)
    if text:
        # The text ends with the notes, which this exception has on its own.
        tail = "\n".join(notes)
        shown = text.rstrip("\n")
        shown = shown.removesuffix(tail).rstrip("\n") if tail else shown
        made.add_note(f"\nraised {_place(info)}:\n{shown}")
    return made


def wrap_exception(engine_info: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Describe the exception being handled as a plain dict.

    Args:
        engine_info: where it happened.

    Returns:
        ``status``, ``traceback``, ``ename``, ``evalue``, ``engine_info``.

    Example:
        >>> try:
        ...     1 / 0
        ... except ZeroDivisionError:
        ...     wrap_exception({"engine_id": 1})["ename"]
        'ZeroDivisionError'
    """
    kind, value, _ = sys.exc_info()
    return {
        "status": "error",
        "traceback": _traceback.format_exc(),
        "ename": kind.__name__ if kind else "None",
        "evalue": str(value),
        "engine_info": dict(engine_info or {}),
    }


def unwrap_exception(content: Mapping[str, Any]) -> error.RemoteError:
    """Make a plain `RemoteError` of what `wrap_exception` gave.

    Example:
        >>> unwrap_exception({"ename": "ValueError", "evalue": "bad", "engine_info": {}})
        <RemoteError[ ]:ValueError(bad)>
    """
    text = content.get("traceback")
    if isinstance(text, (list, tuple)):
        text = "\n".join(text)
    return error.RemoteError(
        content["ename"], content["evalue"], text or None, content.get("engine_info")
    )


def collect_exceptions(rdict_or_list: _T, method: str = "unspecified") -> _T:
    """Give the values back, unless some of them are failures.

    Args:
        rdict_or_list: a list of values, or a dict with such values.
        method: what was being done, for the message.

    Returns:
        The argument itself.

    Raises:
        CompositeError: if a value is an exception of oarlock, aborted tasks included.

    Example:
        >>> values = lview.map(lambda x: 1 / x, [1, 0]).get(return_exceptions=True)
        >>> collect_exceptions(values)
        Traceback (most recent call last):
        oarlock.error.CompositeZeroDivisionError: one or more exceptions raised in: unspecified
    """
    values: Any = rdict_or_list.values() if isinstance(rdict_or_list, dict) else rdict_or_list
    failed = [value for value in values if isinstance(value, error.OarlockError)]
    if failed:
        raise compose(method, failed)
    return rdict_or_list


def compose(fname: str, failed: Iterable[Exception]) -> error.CompositeError:
    """Make the error of a result of which several tasks or items failed."""
    return error.CompositeError.of(f"one or more exceptions raised in: {fname}", failed)


def _typed(original: BaseException) -> error.RemoteError | None:
    cls = _combine.combine(error.RemoteError, type(original))
    if cls is None:
        return None
    try:
        made = _combine.build(cls, _combine.snapshot(original))
    except Exception:  # the type's own code refused
        return None
    return made if isinstance(made, error.RemoteError) else None


def _place(info: Mapping[str, Any]) -> str:
    if info.get("engine_id") is None:
        return "on an engine" if info.get("method") != "submit" else "here, at submission"
    details = [f"{name} {info[name]}" for name in ("pid", "host") if info.get(name)]
    return f"on engine {info['engine_id']}" + (f" ({', '.join(details)})" if details else "")
