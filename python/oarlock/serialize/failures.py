"""Exceptions on their way: packed where they were raised, unpacked where the result is read.

What travels is a description in plain data. The exception itself lies inside as a pickle of its
own, so that one which cannot be pickled or unpickled costs only its type, never the report.
"""

import contextlib
import pickle
import traceback
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final

from oarlock import error
from oarlock.error._combine import Snapshot, build, snapshot
from oarlock.serialize.functions import unsent_reason
from oarlock.serialize.pickler import whole

#: Longest message and traceback that travel, in characters; the rest is cut out of the middle.
_MESSAGE_MAX: Final = 64 * 1024
_TRACEBACK_MAX: Final = 256 * 1024

#: A pickled exception longer than this, in bytes, stays behind (one that holds a large array).
_EXCEPTION_MAX: Final = 16 * 1024 * 1024


class _Carried:
    """A pickled exception; unpickling it gives the exception, or None when that fails.

    An exception that does not say itself how it is pickled travels as what it consists of: the
    ordinary way is to call its class with its ``args``, and many constructors want others.
    """

    __slots__ = ("body",)

    def __init__(self, body: bytes) -> None:
        self.body = body

    def __reduce__(self) -> tuple[Any, ...]:
        return _revive, (self.body,)


def describe(exc: BaseException, info: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What `error.make_remote` and `error.ItemError` need to know of `exc`. Never raises.

    Args:
        exc: The exception, with its traceback; frames of oarlock itself are left out.
        info: Where it happened: ``engine_id``, ``engine_uuid``, ``pid``, ``host``, ``method``; an
            ``engine_id`` of None says that it was on no engine.
    """
    _add_reason(exc)
    return {
        "ename": type(exc).__name__,
        "evalue": _cut(_message(exc), _MESSAGE_MAX),
        "traceback": _cut(_traceback(exc), _TRACEBACK_MAX),
        "engine_info": dict(info or {}),
        "exception": _carry(exc),
        "notes": [str(note) for note in _notes(exc)],
    }


def pack_error(exc: BaseException, info: Mapping[str, Any] | None = None) -> bytes:
    """The pickle of a description of `exc`. Never raises.

    Args:
        exc: The exception, with its traceback.
        info: Where it happened; nothing for what failed before it reached an engine.
    """
    return pickle.dumps(describe(exc, info), 5)


def unpack_error(parts: Sequence[Any], engine_id: int | None = None) -> BaseException:
    """The exception of which `pack_error` made the first of `parts`.

    Args:
        parts: The parts of an outcome.
        engine_id: The engine it came from, where the description does not say.

    Returns:
        What `error.make_remote` makes of it.
    """
    description: dict[str, Any] = pickle.loads(parts[0])  # noqa: S301 - made by pack_error
    if engine_id is not None:
        description["engine_info"].setdefault("engine_id", engine_id)
    return error.make_remote(description)


def _revive(body: bytes) -> BaseException | None:
    try:
        revived = pickle.loads(body)  # noqa: S301 - as trusted as the outcome it came in
        if isinstance(revived, Snapshot):
            return build(revived.kind, revived)
    except Exception:
        return None
    return revived if isinstance(revived, BaseException) else None


def _carry(exc: BaseException) -> _Carried | None:
    try:
        body = whole(exc if _pickles_itself(type(exc)) else snapshot(exc))
    except Exception:
        return None
    return _Carried(body) if len(body) <= _EXCEPTION_MAX else None


def _pickles_itself(kind: type) -> bool:
    """Whether a class above the built-in ones says how its instances are pickled."""
    return any(
        name in vars(base)
        for base in kind.__mro__
        if base.__module__ != "builtins"
        for name in ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__")
    )


def _add_reason(exc: BaseException) -> None:
    if isinstance(exc, NameError):
        reason = unsent_reason(exc)
        if reason is not None:
            exc.add_note(
                f"global {exc.name!r} of the client was not sent: {reason}\n\n"
                "hint: push a value of that name to the engines, or make one in the function"
            )


def _message(exc: BaseException) -> str:
    try:
        return str(exc)
    except Exception as failure:
        return f"<no message: str() raised {type(failure).__name__}>"


def _notes(exc: BaseException) -> list[Any]:
    notes = getattr(exc, "__notes__", None)
    return list(notes) if isinstance(notes, (list, tuple)) else []


def _traceback(exc: BaseException) -> str:
    start = _users_frame(exc.__traceback__)
    try:
        return "".join(traceback.format_exception(type(exc), exc, start))
    except Exception:  # a str() or a source file that misbehaves
        with contextlib.suppress(Exception):
            lines = traceback.format_tb(start)
            return "".join(
                ["Traceback (most recent call last):\n", *lines, type(exc).__name__, "\n"]
            )
    return f"{type(exc).__name__}\n"


def _users_frame(step: TracebackType | None) -> TracebackType | None:
    """The traceback from the first frame that is not ours."""
    while step is not None:
        name = step.tb_frame.f_globals.get("__name__", "")
        if not (isinstance(name, str) and (name == "oarlock" or name.startswith("oarlock."))):
            return step
        step = step.tb_next
    return None


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"
