"""Small things that belong to no room: the clock and the `interactive` mark."""

from datetime import UTC, datetime
from types import FunctionType
from typing import Final, TypeVar

__all__ = ["interactive", "utc", "utcnow"]

utc: Final = UTC

_F = TypeVar("_F")

#: Key in a function's ``__dict__`` that says: treat me as if I were written in ``__main__``.
#: It is an attribute so that it survives pickling and `functools.wraps`.
INTERACTIVE: Final = "__interactive__"


def utcnow() -> datetime:
    """The time now, as an aware datetime in UTC."""
    return datetime.now(UTC)


def interactive(f: _F) -> _F:
    """Treat a function or class of a module as if it had been typed in ``__main__``.

    It then travels by value, and the names it uses are looked up in the engine's namespace
    first, then in what it could see on the client.

    Args:
        f: A function or a class; it is marked and returned, not copied.

    Returns:
        `f` itself.

    Example:
        >>> @interactive
        ... def area():
        ...     return width * height  # both pushed to the engines before
    """
    if isinstance(f, FunctionType):
        f.__dict__[INTERACTIVE] = True
    f.__module__ = "__main__"
    return f
