"""`DirectView.sync_imports`: import statements of a ``with`` block are repeated on the engines.

`builtins.__import__` is replaced for the length of the block and acts only on statements of the
frame that entered it; what those modules import in turn is left alone. An import statement does not
tell `__import__` the names it binds (``as np``), so these are read from the statement's bytecode.
"""

import builtins
import dis
import sys
from collections.abc import Mapping, Sequence
from itertools import dropwhile, islice
from types import CodeType, FrameType, ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from oarlock.views.spaces import NamespaceView

_STORES: Final = frozenset({"STORE_NAME", "STORE_FAST", "STORE_GLOBAL", "STORE_DEREF"})


def statement(code: CodeType, at: int, name: str, fromlist: Sequence[str] | None) -> str | None:
    """The source of the import statement that is being run.

    Args:
        code: Code that is running.
        at: Offset in bytes of its instruction that imports.
        name: Full name of the module.
        fromlist: The names after ``from ... import``, None for the other kind of statement.

    Returns:
        One import statement, or None when the instruction belongs to none.
    """
    if fromlist and "*" in fromlist:
        return f"from {name} import *"
    rest = dropwhile(lambda instruction: instruction.offset != at, dis.get_instructions(code))
    stored = (str(found.argval) for found in rest if found.opname in _STORES)
    # A statement stores each name it binds, in order, and nothing else.
    bound = list(islice(stored, len(fromlist or "1")))
    if fromlist and len(bound) == len(fromlist):
        names = (w if w == b else f"{w} as {b}" for w, b in zip(fromlist, bound, strict=True))
        return f"from {name} import {', '.join(names)}"
    if fromlist or not bound:
        return None
    plain = bound[0] == name.partition(".")[0]
    return f"import {name}" if plain else f"import {name} as {bound[0]}"


class ImportHook:
    """The context manager `DirectView.sync_imports` gives; for one block at a time."""

    def __init__(self, view: "NamespaceView", *, quiet: bool) -> None:
        """Repeat imports on the engines of `view`; say so unless `quiet`."""
        self._view = view
        self._quiet = quiet
        self._results: list[Any] = []
        self._frame: FrameType | None = None
        self._original: Any = None

    def __enter__(self) -> "NamespaceView":
        """Begin to watch the caller's import statements."""
        self._frame = sys._getframe(1)
        self._original = builtins.__import__
        self._results = []
        builtins.__import__ = self._import
        return self._view

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop watching, and raise what importing raised on the engines."""
        builtins.__import__ = self._original
        self._frame = None
        results, self._results = self._results, []
        if kind is None:
            for result in results:
                result.get()

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002 - the names `__import__` has
        locals: Mapping[str, Any] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        module: ModuleType = self._original(name, globals, locals, fromlist, level)
        caller = sys._getframe(1)
        # A relative import means nothing on an engine, which has no such package around it.
        if caller is self._frame and level == 0:
            source = statement(caller.f_code, caller.f_lasti, name, fromlist)
            if source is not None:
                if not self._quiet:
                    print(f"importing on engines {self._view.targets}: {source}")
                self._results.append(self._view.execute(source, block=False))
        return module
