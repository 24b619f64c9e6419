"""When the pickle of a function is sure to be what it was.

It is as long as the function's code, defaults, closure and captured globals are the same objects,
and none of them can change inside: numbers, text, tuples of those, modules, importable functions
and classes, and functions of ``__main__`` for which the same holds. Anything else (a list, an
array, an instance) may have changed unseen, so a function that uses it has no shapes.
"""

import weakref
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any, Final

from oarlock.reference import Reference
from oarlock.serialize import codes
from oarlock.serialize.functions import importable, lookup
from oarlock.util import INTERACTIVE

_ABSENT: Final = object()
_NUMBERS: Final = frozenset({int, float, complex, bool, range})
_PLAIN: Final = _NUMBERS | {str, bytes, type(None), type(...), ModuleType, Reference}


class _Changeable(Exception):
    """Something was met that may change unseen."""


class Shape:
    """What one function was made of when it was pickled.

    Functions are held weakly, since a recursive one would otherwise keep itself alive through here.
    """

    __slots__ = ("cells", "code", "defaults", "function", "keywords", "names")

    def __init__(self, function: FunctionType) -> None:
        self.function = weakref.ref(function)
        self.code = function.__code__
        self.defaults = function.__defaults__
        self.keywords = dict(function.__kwdefaults__ or ())
        self.cells = [_held(_content(cell)) for cell in function.__closure__ or ()]
        loads = codes.facts(function.__code__).loads
        self.names = [(name, *_held(lookup(function, name, _ABSENT))) for name in loads]

    def holds(self) -> bool:
        """Whether the function is still made of the same."""
        function = self.function()
        if function is None or function.__code__ is not self.code:
            return False
        if function.__defaults__ is not self.defaults:
            return False
        if (function.__kwdefaults__ or {}) != self.keywords:
            return False
        space = function.__globals__
        for name, value, weakly in self.names:
            expected = value() if weakly else value
            if space.get(name, _ABSENT) is expected:
                continue
            # The slower way is for a rebuilt function, whose captured names are no globals.
            if lookup(function, name, _ABSENT) is not expected:
                return False
        if self.cells:
            for cell, (value, weakly) in zip(function.__closure__ or (), self.cells, strict=True):
                if _content(cell) is not (value() if weakly else value):
                    return False
        attributes = function.__dict__
        return not attributes or attributes.keys() == {INTERACTIVE}


def shapes_of(f: Any) -> list[Shape] | None:
    """What to compare before the pickle of `f` is used again; None when it must not be."""
    found: dict[int, Shape] = {}
    try:
        _add(f, found)
    except (_Changeable, RecursionError):
        return None
    try:
        weakref.ref(f)
    except TypeError:  # a partial, say, would do, but a bound method is new each time
        return None
    return list(found.values())


def _add(value: Any, found: dict[int, Shape]) -> None:
    """Add the shapes of the functions in `value`, or raise `_Changeable`."""
    kind = type(value)
    if kind in _PLAIN or value is _ABSENT:
        return
    if kind in (tuple, frozenset):
        for item in value:
            _add(item, found)
    elif kind is FunctionType:
        _add_function(value, found)
    elif kind is BuiltinFunctionType:
        # A bound method of some object (`[].append`) carries that object.
        if not (value.__self__ is None or isinstance(value.__self__, (ModuleType, type))):
            raise _Changeable
    elif not (isinstance(value, type) and importable(value)):
        raise _Changeable


def _add_function(function: FunctionType, found: dict[int, Shape]) -> None:
    marks = function.__dict__.keys()
    if id(function) in found or (INTERACTIVE not in marks and importable(function)):
        return
    if not marks <= {INTERACTIVE}:
        raise _Changeable
    shape = found[id(function)] = Shape(function)
    _add(shape.defaults, found)
    _add(tuple(shape.keywords.values()), found)
    for cell in function.__closure__ or ():
        _add(_content(cell), found)
    for name, *_ in shape.names:
        _add(lookup(function, name, _ABSENT), found)


def _held(value: Any) -> tuple[Any, bool]:
    return (weakref.ref(value), True) if type(value) is FunctionType else (value, False)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a variable without a value
        return _ABSENT
