"""What functions see that are made while another runs: lambdas, comprehensions, methods.

A function that travelled by value has builtins of its own, in which lies what it captured. One made
inside it takes its builtins from the ``__builtins__`` of its globals, which are the namespace. That
key has to be there, too: C code that imports something looks for it in the globals of the running
frame, so without it a sum in numpy, `strptime` or pickling fails with a KeyError.

So the key holds the plain builtins as long as that is enough. While there are functions with code
inside that loads captured names, it holds a copy of the builtins with those names. When two
functions captured different things under one name, that of the task that runs is shown, else the
one that came last.
"""

import builtins
import weakref
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType, ModuleType
from typing import Any, Final

__all__ = ["Names", "forget_all", "gather", "prefer", "settle", "show"]

Names = Mapping[str, Any]

_KEY: Final = "__builtins__"
# A module, since that is what `__builtins__` is in every other ``__main__``.
_extended: Final = ModuleType("builtins")
_shown: Final = vars(_extended)

# Who has captured each shown name, last come last. Weak: what is shown may refer to its holder.
_holders: Final[dict[str, list[weakref.ref[FunctionType]]]] = {}
_brought: Final[weakref.WeakKeyDictionary[FunctionType, Names]] = weakref.WeakKeyDictionary()
_gathered: list[Names] | None = None


def settle(space: dict[str, Any]) -> None:
    """Give `space`, the user namespace, the right ``__builtins__``."""
    space[_KEY] = _extended if _holders else builtins


def show(function: FunctionType, names: Names) -> None:
    """Let functions made inside `function` see `names`, which it captured, while it lives."""
    if not _holders:
        _shown.update(vars(builtins))
    if _gathered is not None:
        _gathered.append(names)
    _brought[function] = names
    # The callback gets the reference, by which it finds itself among the holders.
    holder = weakref.ref(function, _dropper(tuple(names)))
    for name in names:
        _holders.setdefault(name, []).append(holder)
    _shown.update(names)
    settle(function.__globals__)


def prefer(brought: Iterable[Names]) -> None:
    """Show these names rather than others of the same name."""
    for names in brought:
        _shown.update(names)


def gather(make: Callable[[], Any]) -> tuple[Any, list[Names]]:
    """What `make()` returns, and the names shown meanwhile."""
    global _gathered
    _gathered = names = []
    try:
        return make(), names
    finally:
        _gathered = None


def forget_all() -> None:
    """Show nothing but the builtins."""
    _holders.clear()
    _brought.clear()
    _shown.clear()


def _dropper(names: tuple[str, ...]) -> Callable[[weakref.ref[FunctionType]], None]:
    def drop(holder: weakref.ref[FunctionType]) -> None:
        for name in names:
            holders = _holders.get(name, [])
            if holder in holders:
                holders.remove(holder)
                _restore(name, holders)

    return drop


def _restore(name: str, holders: list[weakref.ref[FunctionType]]) -> None:
    """Show what is left under `name` after one of its holders is gone."""
    for holder in reversed(holders):
        function = holder()
        if function is not None:
            _shown[name] = _brought[function][name]
            return
    _holders.pop(name, None)
    if name in vars(builtins):
        _shown[name] = vars(builtins)[name]
    else:
        _shown.pop(name, None)
