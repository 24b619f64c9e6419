"""Which part of an object could not be pickled, in the user's own terms."""

import functools
import reprlib
from collections.abc import Iterator
from types import FunctionType, GeneratorType, MethodType
from typing import Any, Final

from oarlock import error
from oarlock.serialize.functions import captured, is_interactive
from oarlock.serialize.pickler import Pickler

#: Parts tried before the search is given up; the place found so far is told.
_TRIALS: Final = 10_000
_DEPTH: Final = 12

_PLAIN: Final = frozenset({int, float, complex, str, bytes, bytearray, bool, type(None)})

_repr: Final = reprlib.Repr()
_repr.maxother = _repr.maxstring = _repr.maxlong = 200


def explain(obj: Any, cause: BaseException, root: str | None = None) -> error.SerializationError:
    """The error that names the part of `obj` that could not be pickled.

    Args:
        obj: What was to be pickled.
        cause: What the pickler raised.
        root: What to call `obj`; ``result`` changes what is said about the task.
    """
    search = _Search()
    is_call = root is None and _is_call(obj)
    path, culprit = search.deepest(obj, "" if is_call else root or "value", is_call=is_call)
    became = (
        "the task ran, but its result is lost; the engine goes on"
        if root == "result"
        else f"{root if root and root != 'value' else 'the task'} was not sent"
    )
    # A cause of our own brings a hint, which knows more than one made from types.
    said, _, hint = str(cause).partition("\n\nhint: ")
    return error.SerializationError(
        f"cannot pickle {path or 'the arguments'}, of type {type_name(culprit)}: {shown(culprit)} "
        f"({type(cause).__name__}: {said or 'no reason given'}); {became}\n\n"
        f"hint: {hint or _hint(culprit, cause)}"
    )


def shown(thing: Any) -> str:
    """A short repr of `thing`, whatever its own says or does."""
    try:
        return _repr.repr(thing)
    except Exception as failure:
        return f"<no repr: {type(failure).__name__}>"


def type_name(thing: Any) -> str:
    """The full name of the type of `thing`."""
    kind = type(thing)
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )


def _is_call(obj: Any) -> bool:
    return type(obj) is tuple and len(obj) == 2 and type(obj[0]) is tuple and type(obj[1]) is dict


class _Search:
    """Goes down from an object to its smallest part that fails."""

    def __init__(self) -> None:
        self._left = _TRIALS

    def deepest(self, obj: Any, path: str, *, is_call: bool) -> tuple[str, Any]:
        for _ in range(_DEPTH):
            parts = [("args", obj[0]), ("kwargs", obj[1])] if is_call else _parts(obj)
            is_call = False
            for label, part in parts:
                if self._fails(part):
                    path, obj = path + label, part
                    break
            else:
                break
        return path, obj

    def _fails(self, part: Any) -> bool:
        if type(part) in _PLAIN or self._left == 0:
            return False
        self._left -= 1
        try:
            Pickler().write(part)
        except Exception:
            return True
        return False


def _parts(obj: Any) -> Iterator[tuple[str, Any]]:
    """The parts of `obj` that pickle would write, with how to get there."""
    if isinstance(obj, (tuple, list)):
        for index, item in enumerate(obj):
            yield f"[{index}]", item
    elif isinstance(obj, dict):
        for key, value in obj.items():
            yield f"[{shown(key)}]", value
            yield f" (key {shown(key)})", key
    elif isinstance(obj, (set, frozenset)):
        for item in obj:
            yield f" (element {shown(item)})", item
    elif isinstance(obj, MethodType):
        yield ".__self__", obj.__self__
        yield ".__func__", obj.__func__
    elif isinstance(obj, functools.partial):
        yield ".func", obj.func
        yield ".args", obj.args
        yield ".keywords", obj.keywords
    elif isinstance(obj, FunctionType):
        yield from _parts_of_function(obj)
    if not isinstance(obj, (type, FunctionType)):
        yield from _attributes(obj)


def _parts_of_function(function: FunctionType) -> Iterator[tuple[str, Any]]:
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=False)
    for name, cell in cells:
        try:
            yield f" (its variable {name})", cell.cell_contents
        except ValueError:  # no value yet
            continue
    yield ".__defaults__", function.__defaults__
    yield ".__kwdefaults__", function.__kwdefaults__
    yield ".__dict__", function.__dict__
    if not is_interactive(function):  # of others, such names are left behind
        yield from ((f" (its global {name})", value) for name, value in captured(function).items())


def _attributes(obj: Any) -> Iterator[tuple[str, Any]]:
    try:
        yield from ((f".{name}", value) for name, value in list(vars(obj).items()))
    except TypeError:  # no __dict__
        pass
    for base in type(obj).__mro__:
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(obj, name):
                yield f".{name}", getattr(obj, name)


def _hint(culprit: Any, cause: BaseException) -> str:
    if isinstance(cause, RecursionError) or "recursion" in str(cause):
        return "it is nested too deeply, or holds itself in a way pickle cannot follow; flatten it"
    if isinstance(culprit, GeneratorType):
        return "a generator cannot travel; send list(...) of it"
    module = type(culprit).__module__
    if module.startswith("oarlock"):
        return "clients, views and results stay where they were made; send plain values instead"
    if module in ("_thread", "threading", "_io", "socket", "_socket", "sqlite3", "ssl"):
        return "locks, files and connections belong to their process; make one inside the function"
    return (
        "send what the object is made from and build it where it is used, or give its class a "
        "__reduce__ or __getstate__ that leaves this part out"
    )
