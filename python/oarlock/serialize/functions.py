"""Functions of ``__main__``: taken apart on one side, rebuilt on the other.

The rule for names: on an engine such a function has the user namespace as its globals, so that
``global`` writes there and the engine's variables win. What it could see on the client comes after
that and before the builtins: it lies in a private copy of the builtins, which only functions made
from this pickle use. In a process that is no engine the globals are just what was captured.

Closures keep their cells: two functions of one pickle that share a variable share it afterwards.
"""

import builtins
import platform
import sys
from collections.abc import Callable
from operator import attrgetter
from types import CellType, FunctionType
from typing import Any, Final, Protocol

from cloudpickle import list_registry_pickle_by_value

from oarlock import _inner, namespace
from oarlock.serialize import codes
from oarlock.util import INTERACTIVE

_ABSENT: Final = object()

# By name, since type checkers lose sight of this attribute.
_builtins_of: Final[Callable[[FunctionType], dict[str, Any]]] = attrgetter("__builtins__")

#: What a maker does not set; annotations are objects of the user's, so they come with the state.
_SET: Final = ("__defaults__", "__kwdefaults__", "__doc__", "__annotations__", "__type_params__")

#: Where a private copy of the builtins tells which names could not be sent, and why.
UNSENT: Final = "__oarlock_unsent__"


class Dump(Protocol):
    """What the reduction of functions needs to know of the dump it belongs to."""

    cells: "Cells"
    functions: list[FunctionType]
    unsent: dict[tuple[int, str], str]


class Cells:
    """The closure cells of one pickle, by number; each comes into being when first asked for."""

    __slots__ = ("_made", "_numbers")

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._made: dict[int, CellType] = {}

    def number(self, cell: CellType) -> int:
        """The number of a cell of the pickling side; the caller keeps the cell alive."""
        return self._numbers.setdefault(id(cell), len(self._numbers))

    def cell(self, number: int) -> CellType:
        """The cell of that number on the unpickling side."""
        return self._made.setdefault(number, CellType())

    def __reduce__(self) -> tuple[Any, ...]:
        return Cells, ()


def is_interactive(function: FunctionType) -> bool:
    """Whether the rule for names applies: written in ``__main__``, or marked `interactive`."""
    # The globals decide, not __module__, which decorators copy from what they wrap.
    return function.__globals__.get("__name__") == "__main__" or INTERACTIVE in function.__dict__


def lookup(function: FunctionType, name: str, default: Any) -> Any:
    """What `name` means to `function` beyond the builtins; `default` when it means nothing."""
    value = function.__globals__.get(name, _ABSENT)
    if value is _ABSENT:
        # A rebuilt function has what it captured there.
        value = _builtins_of(function).get(name, _ABSENT)
        if value is _ABSENT or value is builtins.__dict__.get(name, _ABSENT):
            return default
    return value


def captured(function: FunctionType) -> dict[str, Any]:
    """The globals `function` may load, as far as they exist here."""
    found = {}
    for name in codes.facts(function.__code__).loads:
        value = lookup(function, name, _ABSENT)
        if value is not _ABSENT:
            found[name] = value
    return found


def reduce_function(dump: Dump, function: FunctionType) -> tuple[Any, ...]:
    """How pickle shall write `function`: a maker, its arguments, and the rest as state.

    The state is written after the function is in the pickle's memo, so it may refer back to it.
    """
    dump.functions.append(function)
    facts = codes.facts(function.__code__)
    names = captured(function)
    mine = ((name, (id(function), name)) for name in names)
    unsent = {name: dump.unsent[key] for name, key in mine if key in dump.unsent}
    for name in unsent:
        del names[name]
    closure = function.__closure__ or ()
    numbers = [dump.cells.number(cell) for cell in closure]
    modules = [
        full
        for value in (*names.values(), *map(_content, closure))
        for full in codes.submodules(value, facts.attributes)
    ]
    state: dict[str, Any] = {
        "names": names,
        "unsent": unsent,
        "inner": [name for name in names if name in facts.inner],
        # One tuple for each cell: its content, or nothing while the variable has no value.
        "cells": [() if (value := _content(cell)) is _ABSENT else (value,) for cell in closure],
        "modules": modules,
        "attributes": function.__dict__,
        "set": {name: value for name in _SET if (value := _said(function, name))},
    }
    state = {key: value for key, value in state.items() if value}
    state["qualname"], state["module"] = function.__qualname__, function.__module__
    code = facts.packed if facts.packed is not None else function.__code__
    private = bool(names or unsent)
    arguments = (codes.MAGIC, platform.python_version(), code, function.__name__, private)
    cells = (dump.cells, tuple(numbers)) if numbers else ()
    return _make, (*arguments, *cells), state, None, None, _set_state


def _make(
    magic: bytes,
    version: str,
    packed: Any,
    name: str,
    private: bool,
    cells: Cells | None = None,
    numbers: tuple[int, ...] = (),
) -> FunctionType:
    code = codes.unpack(magic, version, packed)
    closure = tuple(map(cells.cell, numbers)) if cells is not None else None
    space = namespace.current()
    if space is None:
        own = {"__name__": "__main__", "__builtins__": builtins.__dict__}
        return FunctionType(code, own, name, None, closure)
    # Imported here: clients unpickle functions without it, and so do tests of this package.
    from oarlock import _oarlock

    visible = dict(builtins.__dict__) if private else builtins.__dict__
    made: FunctionType = _oarlock.make_function(code, space, visible, name, closure)
    return made


def _set_state(function: FunctionType, state: dict[str, Any]) -> None:
    on_engine = function.__globals__ is namespace.current()
    names = dict(state.get("names", ()))
    if on_engine and "unsent" in state:
        names[UNSENT] = state["unsent"]
    if names:
        place = _builtins_of(function) if on_engine else function.__globals__
        place.update(names)
    if on_engine and (inner := {name: names[name] for name in state.get("inner", ())}):
        if UNSENT in names:
            inner[UNSENT] = names[UNSENT]
        _inner.show(function, inner)
    for cell, content in zip(function.__closure__ or (), state.get("cells", ()), strict=True):
        for value in content:
            cell.cell_contents = value
    for name in state.get("modules", ()):
        _import(name)
    function.__dict__.update(state.get("attributes", ()))
    for name, value in state.get("set", {}).items():
        setattr(function, name, value)
    function.__qualname__ = state["qualname"]
    function.__module__ = state["module"]


def _import(name: str) -> None:
    # A guess from names alone: when it was needed after all, using it says what is missing.
    try:
        __import__(name)
    except ImportError:
        return


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a variable that has no value yet
        return _ABSENT


def unsent_reason(error: BaseException) -> str | None:
    """Why the name a NameError complains of did not come along, when that is the reason."""
    name = getattr(error, "name", None)
    frames = []
    step = error.__traceback__
    while step is not None:
        frames.append(step.tb_frame)
        step = step.tb_next
    if not frames or not isinstance(name, str):
        return None
    # One made while another ran, as a lambda, has the plain builtins: who called it may know. Only
    # as long as the names are looked up in the same place.
    for frame in reversed(frames):
        if frame.f_globals is frames[-1].f_globals:
            reason = frame.f_builtins.get(UNSENT, {}).get(name)
            if reason is not None:
                return str(reason)
    return None


def _said(function: FunctionType, name: str) -> Any:
    try:
        return getattr(function, name, None)
    except NameError:  # from Python 3.14 on, annotations are evaluated when they are read
        return None


def importable(thing: Any) -> bool:
    """Whether a function or class can be had by importing its module, so that a name suffices."""
    name = getattr(thing, "__module__", None) or "__main__"
    module = sys.modules.get(name)
    if module is None or name == "__main__":
        return False
    if any(f"{name}.".startswith(f"{known}.") for known in list_registry_pickle_by_value()):
        return False
    found: Any = module
    for step in thing.__qualname__.split("."):
        found = getattr(found, step, None)
        if found is None:
            return False
    return found is thing
