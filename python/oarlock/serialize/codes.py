"""What a code object needs from outside, and its compact form.

Both are computed once for each code object and kept as long as it lives.
"""

import dis
import importlib.util
import marshal
import platform
import sys
import weakref
from collections.abc import Iterator
from types import CodeType, ModuleType
from typing import Any, Final

import cloudpickle

# A class body inside a function loads globals by name too, so LOAD_NAME belongs here.
_LOADS: Final = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})

# Code that is text takes its builtins from the namespace, as nested code does.
_RUNS_TEXT: Final = frozenset({"eval", "exec"})

#: Changes whenever byte code does; code of another magic must never be run.
MAGIC: Final = importlib.util.MAGIC_NUMBER


class Facts:
    """What is known of one code object.

    Attributes:
        loads: Names it or code nested in it may load from globals.
        inner: Those that code nested in it, or given to `eval` or `exec`, may load.
        attributes: Every name in it, attributes included.
        packed: Its marshalled form, or None when a constant in it cannot be marshalled.
    """

    __slots__ = ("attributes", "inner", "loads", "packed", "ref")

    def __init__(self, code: CodeType) -> None:
        key = id(code)
        self.ref = weakref.ref(code, lambda _: _facts.pop(key, None))
        every = list(_nested(code))
        self.loads = tuple(dict.fromkeys(name for one in every for name in _loaded(one)))
        self.attributes = frozenset(name for one in every for name in one.co_names)
        within = every if _RUNS_TEXT & self.attributes else every[1:]
        self.inner = frozenset(name for one in within for name in _loaded(one))
        try:
            self.packed: bytes | None = marshal.dumps(code)
        except ValueError:
            self.packed = None


_facts: dict[int, Facts] = {}

# Newer ones leave out the file.
_CLOUDPICKLES: Final = cloudpickle.Pickler.dispatch_table.maps[0][CodeType]


def facts(code: CodeType) -> Facts:
    """The facts of `code`."""
    # By identity: comparing code objects is slow, and equal ones may differ in their file.
    found = _facts.get(id(code))
    if found is None or found.ref() is not code:
        found = _facts[id(code)] = Facts(code)
    return found


def unpack(magic: bytes, version: str, code: bytes | CodeType) -> CodeType:
    """The code object a client sent.

    Args:
        magic: `MAGIC` of the Python that compiled it.
        version: That Python's version, for the message.
        code: The marshalled form, or the object itself where pickle carried it.

    Raises:
        RuntimeError: It was compiled by a Python whose byte code differs.
    """
    if magic != MAGIC:
        raise RuntimeError(
            f"a function compiled by Python {version} cannot run on Python "
            f"{platform.python_version()}: their byte code differs\n\n"
            "hint: run clients and engines with the same minor version of Python, or put the "
            "function into a module that both can import"
        )
    if isinstance(code, CodeType):
        return code
    unpacked = marshal.loads(code)  # noqa: S302 - as trusted as the pickle around it
    assert isinstance(unpacked, CodeType)  # we marshalled it
    return unpacked


def reduce_code(code: CodeType) -> tuple[Any, ...]:
    """How pickle shall write a code object: with its file, so that tracebacks show its lines."""
    packed = facts(code).packed
    if packed is None:
        reduced: tuple[Any, ...] = _CLOUDPICKLES(code)
        return reduced
    return unpack, (MAGIC, platform.python_version(), packed)


def submodules(value: Any, attributes: frozenset[str]) -> Iterator[str]:
    """Loaded submodules of the package `value` that code with these names may reach.

    ``import a.b`` binds only ``a``; a function that uses ``a.b`` needs ``a.b`` imported as well.
    """
    if not (isinstance(value, ModuleType) and hasattr(value, "__path__")):
        return
    for name in sorted(attributes):
        full = f"{value.__name__}.{name}"
        inner = sys.modules.get(full)
        if isinstance(inner, ModuleType):
            yield full
            yield from submodules(inner, attributes)


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def _loaded(code: CodeType) -> Iterator[str]:
    for instruction in dis.get_instructions(code):
        if instruction.opname in _LOADS:
            yield instruction.argval
