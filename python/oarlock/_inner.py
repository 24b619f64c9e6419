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

from __future__ import annotations

import builtins
import weakref
from operator import attrgetter
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import FunctionType
    from typing import Any, Final

    Names = Mapping[str, Any]
    Holder = weakref.ref[FunctionType]

__all__ = ["gather", "prefer", "settle", "show"]

_KEY: Final = "__builtins__"
_builtins_of: Final[Callable[[FunctionType], dict[str, Any]]] = attrgetter(_KEY)

# A module, since that is what the key holds in every other ``__main__``.
_extended: Final = ModuleType("builtins")
_shown: Final = vars(_extended)
_shown.update(vars(builtins))

# Who captured each name that is shown, last come last. Weak, since a name may mean its holder.
_holders: Final[dict[str, list[Holder]]] = {}
_gathered: list[Names] | None = None


def settle(space: dict[str, Any]) -> None:
    """Give `space`, the user namespace, the builtins it needs now."""
    space[_KEY] = _extended if _holders else builtins


def show(function: FunctionType, names: Names) -> None:
    """Let functions made inside `function` see `names`, which it captured, while it lives."""
    if _gathered is not None:
        _gathered.append(names)
    space = function.__globals__

    def drop(holder: Holder) -> None:
        for name in names_only:
            _drop(holder, name)
        if not _holders and space.get(_KEY) is _extended:
            settle(space)

    names_only = tuple(names)
    holder = weakref.ref(function, drop)
    for name in names_only:
        _holders.setdefault(name, []).append(holder)
    _shown.update(names)
    settle(space)


def prefer(brought: Iterable[Names]) -> None:
    """Show these names rather than others of the same name."""
    for names in brought:
        _shown.update(names)


def gather(make: Callable[[], Any]) -> tuple[Any, list[Names]]:
    """What `make()` returns, and the names that were shown meanwhile."""
    global _gathered
    names: list[Names] = []
    _gathered = names
    try:
        return make(), names
    finally:
        _gathered = None


def _drop(gone: Holder, name: str) -> None:
    """Show what is left under `name` without the holder that is gone."""
    holders = _holders[name]
    holders.remove(gone)
    for holder in reversed(holders):
        function = holder()
        if function is not None:
            _shown[name] = _builtins_of(function)[name]
            return
    if not holders:
        del _holders[name]
    if name in vars(builtins):
        _shown[name] = vars(builtins)[name]
    else:
        _shown.pop(name, None)
