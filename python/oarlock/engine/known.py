"""The functions this engine was sent, by name; each is unpickled when first called for."""

from __future__ import annotations

import os
import sys

from oarlock import _inner
from oarlock.serialize.parts import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

__all__ = ["KnownFunctions"]

#: Entries of the engine's path that are told when a module is not found.
_PATH_SHOWN: Final = 4


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

    def get(self, name: bytes) -> tuple[Callable[..., Any], bool]:
        """The function, with what it captured in view of the functions it makes.

        Returns:
            The function, and whether it may be called again without asking here.

        Raises:
            Exception: What unpickling raised, with a note on what this engine has.
        """
        ready = self._ready.get(name)
        if ready is None:
            try:
                ready = _inner.gather(lambda: loads([self._packed[name]]))
            except Exception as error:
                add_hint(error, "the function of this task")
                raise
            self._ready[name] = ready
            del self._packed[name]
        function, shown = ready
        if shown:
            _inner.prefer(shown)
        return function, not shown


def add_hint(error: Exception, what: str) -> None:
    """Note on `error` that `what` could not be unpickled here, and what helps."""
    lines = [f"raised while {what} was unpickled on the engine; the engine goes on"]
    missing = getattr(error, "name", None)
    if isinstance(error, ModuleNotFoundError) and missing:
        import platform

        lines.append(
            f"module {missing!r} is not found by Python {platform.python_version()} "
            f"({sys.executable}) of the engine, which works in {_working_directory()} and looks "
            f"in {', '.join(_own_path()) or 'no directory'} beside the standard library\n\n"
            "hint: start the cluster in your project's directory, set PYTHONPATH, or install "
            "the module"
        )
    elif isinstance(error, (ImportError, AttributeError)):
        lines.append(
            "\nhint: the engine imports another version of a module than the client, or imported "
            "it before it was changed; restart the engines after changing modules"
        )
    error.add_note("\n".join(lines))


def _working_directory() -> str:
    try:
        return os.getcwd()
    except OSError:  # somebody removed it
        return "a directory that is gone"


def _own_path() -> list[str]:
    """The first entries of ``sys.path`` that are not Python's own."""
    import sysconfig

    standard = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))
    own = [
        entry
        for entry in sys.path
        if not entry.endswith(".zip")
        and not any(entry in (place, f"{place}/lib-dynload") for place in standard)
    ]
    return own[:_PATH_SHOWN]
