"""The engine's user namespace and what views do to it.

`push`, `pull`, `execute` and `clear` are ordinary functions: a view applies them like any other,
by reference. In a process that is no engine there is no namespace, and they raise RuntimeError.

The namespace holds the ``__builtins__`` that `oarlock._inner` puts there.
"""

from __future__ import annotations

import builtins
import keyword
from collections import deque

from oarlock import _inner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, Final

__all__ = ["clear", "current", "current_attempt", "evaluate", "execute", "pull", "push", "user"]

#: Sources of this many `execute` calls are kept for tracebacks; older ones show no lines.
SOURCES_KEPT: Final = 256

_VALUE: Final = "__oarlock_value__"

_user: dict[str, Any] | None = None
_attempt: Callable[[], int] | None = None
_initial: dict[str, Any] = {}
_sources: deque[str] = deque()
_executed = 0


def install(namespace: dict[str, Any] | None) -> None:
    """Make `namespace` the user namespace of this process; None: it has none (any more)."""
    global _user, _initial
    _user = namespace
    _initial = dict(namespace or {})
    if namespace is not None:
        _inner.settle(namespace)


def number_attempts(attempt: Callable[[], int]) -> None:
    """Have `attempt` say which attempt of its task runs, 0 while none does."""
    global _attempt
    _attempt = attempt


def current_attempt() -> int:
    """Which attempt to run it the running task is: 1 unless it is run again, see `retries`.

    Raises:
        RuntimeError: Called outside a task.

    Example:
        >>> lview.apply_sync(oarlock.current_attempt)
        1
    """
    number = _attempt() if _attempt is not None else 0
    if number == 0:
        raise RuntimeError(
            "no task runs here\n\nhint: `current_attempt` is for functions that run on an engine"
        )
    return number


def current() -> dict[str, Any] | None:
    """The user namespace, or None in a process that is no engine."""
    return _user


def user() -> dict[str, Any]:
    """The user namespace of this engine, live: changes are seen by later tasks.

    Raises:
        RuntimeError: This process is no engine.
    """
    if _user is None:
        raise RuntimeError(
            "this process is no engine, so it has no user namespace\n\n"
            "hint: apply the function on a view instead of calling it here"
        )
    return _user


def evaluate(expression: str) -> Any:
    """The value of `expression` in the user namespace.

    Raises:
        NameError: A name in it is unknown on this engine.
        SyntaxError: It is no expression.
    """
    namespace = user()
    if expression in namespace:
        return namespace[expression]
    if expression.isidentifier() and not keyword.iskeyword(expression):
        # What functions captured is theirs: a plain name means what a user put here.
        if expression in vars(builtins):
            return vars(builtins)[expression]
        raise NameError(f"name {expression!r} is not defined", name=expression)
    code = compile(expression, f"<expression {expression!r}>", "eval", dont_inherit=True)
    return _run(code, namespace)


def push(ns: Mapping[str, Any]) -> None:
    """Assign each value to its key; a key may be any target, such as ``a.b`` or ``x[0]``.

    Raises:
        SyntaxError: A key is no assignment target. Keys before it have been assigned.
    """
    namespace = user()
    for target, value in ns.items():
        if target.isidentifier() and not keyword.iskeyword(target):
            namespace[target] = value
        else:
            _assign(target, value, namespace)


def pull(names: str | Iterable[str]) -> Any:
    """Values of one expression (a str), or a list of the values of several.

    Raises:
        NameError: A name is unknown on this engine.
    """
    if isinstance(names, str):
        return evaluate(names)
    return [evaluate(name) for name in names]


def execute(code: str) -> None:
    """Run `code` as if it had been typed in the user namespace.

    Tracebacks show its lines under the name ``<oarlock-input-N>``.
    """
    global _executed
    _executed += 1
    name = f"<oarlock-input-{_executed}>"
    _keep_source(name, code)
    _run(compile(code, name, "exec", dont_inherit=True), user())


def clear() -> None:
    """Forget everything users put into the namespace."""
    namespace = user()
    namespace.clear()
    namespace.update(_initial)
    _inner.settle(namespace)


def _assign(target: str, value: Any, namespace: dict[str, Any]) -> None:
    import ast

    tree = ast.parse(f"{target} = {_VALUE}", f"<target {target!r}>")
    # One plain assignment to one target; a key like "a; b" or "a = b" is more than that.
    statement = tree.body[0] if len(tree.body) == 1 else None
    if not (isinstance(statement, ast.Assign) and len(statement.targets) == 1):
        raise SyntaxError(f"cannot push to {target!r}: it is no assignment target")
    namespace[_VALUE] = value
    try:
        _run(compile(tree, f"<target {target!r}>", "exec", dont_inherit=True), namespace)
    finally:
        namespace.pop(_VALUE, None)


def _keep_source(name: str, code: str) -> None:
    import linecache

    # A None in place of the time of change keeps linecache from looking for a file.
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    _sources.append(name)
    if len(_sources) > SOURCES_KEPT:
        linecache.cache.pop(_sources.popleft(), None)


def _run(code: Any, namespace: dict[str, Any]) -> Any:
    # Imported when the first code runs: the client imports this module and never gets here.
    from oarlock import _oarlock

    return _oarlock.run_code(code, namespace)
