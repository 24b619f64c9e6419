"""One body for a coroutine method and its ``_sync`` twin.

A twin drives the very coroutine of the asynchronous method, but with the waits below in their
blocking form, so the coroutine never suspends and no event loop is needed: a twin works whether
or not a loop runs in this thread, imports no asyncio, and Ctrl-C reaches its waits directly.

Invariant: a method with a twin awaits only `call` and `wait_engines`, or methods that do.
"""

import contextvars
import functools
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from oarlock import _oarlock

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")

_blocking: contextvars.ContextVar[bool] = contextvars.ContextVar("_blocking", default=False)


async def call(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call something that may block: here in a twin, in a thread in a coroutine."""
    if _blocking.get():
        return function(*args, **kwargs)
    import asyncio

    return await asyncio.to_thread(function, *args, **kwargs)


async def wait_engines(core: _oarlock.Client, n: int, timeout: float) -> bool:
    """Wait until `core` has `n` engines, `timeout` seconds at most; whether it has them."""
    if _blocking.get():
        return core.wait_engines(n, timeout)
    return await core.wait_engines_async(n, timeout)


def twin(
    method: Callable[Concatenate[S, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[S, P], R]:
    """The blocking twin of a coroutine method; a subclass that overrides the method has both."""
    name = method.__name__

    @functools.wraps(method)
    def blocking(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        coroutine: Coroutine[Any, Any, R] = getattr(self, name)(*args, **kwargs)
        return run(coroutine)

    blocking.__name__ = f"{name}_sync"
    blocking.__qualname__ = f"{method.__qualname__}_sync"
    blocking.__doc__ = f"The blocking twin of `{name}`: same arguments, same result."
    return blocking


def run(coroutine: Coroutine[Any, Any, R]) -> R:
    """Drive a coroutine whose waits are all of this module to its end, blocking."""
    token = _blocking.set(True)
    try:
        coroutine.send(None)
    except StopIteration as end:
        return cast("R", end.value)
    finally:
        _blocking.reset(token)
    coroutine.close()
    raise AssertionError(f"{coroutine!r} suspended: it awaits something that cannot block")
