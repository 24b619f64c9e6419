"""Objects that pickle would write as a name in ``__main__``, which means nothing on an engine.

Cached functions and new types refer to themselves that way. When the name can be imported that is
fine; otherwise they are taken apart like the functions and classes they are made from.
"""

import functools
import typing
from collections.abc import Callable
from typing import Any, Final

from oarlock.serialize.functions import importable

_Cached: Final[type] = type(functools.lru_cache(maxsize=0)(int))


def _reduce_cached(cached: Any) -> Any:
    if importable(cached):
        return NotImplemented
    parameters = cached.cache_parameters()
    return _cache, (cached.__wrapped__, parameters["maxsize"], parameters["typed"])


def _cache(function: Callable[..., Any], maxsize: int | None, typed: bool) -> Any:
    return functools.lru_cache(maxsize, typed)(function)


def _reduce_new_type(new_type: Any) -> Any:
    if importable(new_type):
        return NotImplemented
    return _new_type, (new_type.__name__, new_type.__supertype__, new_type.__module__)


def _new_type(name: str, supertype: Any, module: str) -> Any:
    made = typing.NewType(name, supertype)  # type: ignore[misc]
    made.__module__ = module
    return made


#: By type: how to take it apart, or NotImplemented to let it go by name.
REDUCERS: Final[dict[type, Callable[[Any], Any]]] = {
    _Cached: _reduce_cached,
    typing.NewType: _reduce_new_type,
}
