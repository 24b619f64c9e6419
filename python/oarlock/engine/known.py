"""The functions this engine was sent, by name; each is unpickled when first called for."""

import platform
import sys
from collections.abc import Callable
from typing import Any

from oarlock import _inner
from oarlock.serialize.packed import unpack_function

__all__ = ["KnownFunctions"]


class KnownFunctions:
    """Functions by their name on the wire.

    A pickle is kept until it has been unpickled once. One that cannot be unpickled fails the task
    that needed it and is tried again for the next, since what was missing may have been mended.
    """

    def __init__(self) -> None:
        self._ready: dict[bytes, tuple[Callable[..., Any], list[_inner.Names]]] = {}
        self._packed: dict[bytes, Any] = {}

    def put(self, name: bytes, body: Any) -> None:
        """Remember the pickle `body` under `name`."""
        self._packed[name] = body

    def forget(self, name: bytes) -> None:
        """Drop it, ready or not."""
        self._ready.pop(name, None)
        self._packed.pop(name, None)

    def get(self, name: bytes) -> Callable[..., Any]:
        """The function, with what it captured in view of the functions it makes.

        Raises:
            Exception: What unpickling raised, with a note on what this engine has.
        """
        ready = self._ready.get(name)
        if ready is None:
            try:
                ready = _inner.gather(lambda: unpack_function(self._packed[name]))
            except Exception as error:
                add_hint(error, "the function of this task")
                raise
            self._ready[name] = ready
            del self._packed[name]
        function, shown = ready
        if shown:
            _inner.prefer(shown)
        return function


def add_hint(error: Exception, what: str) -> None:
    """Note on `error` that `what` could not be unpickled here, and what helps."""
    lines = [f"raised while {what} was unpickled on the engine; the engine goes on"]
    missing = getattr(error, "name", None)
    if isinstance(error, ModuleNotFoundError) and missing:
        lines.append(
            f"\nhint: module {missing!r} is not installed for, or not found by, Python "
            f"{platform.python_version()} ({sys.executable}) of the engine; its path begins with "
            f"{sys.path[:3]}"
        )
    elif isinstance(error, (ImportError, AttributeError)):
        lines.append(
            "\nhint: the engine imports another version of a module than the client, or imported "
            "it before it was changed; restart the engines after changing modules"
        )
    error.add_note("\n".join(lines))
