"""Several exceptions in one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NoReturn, Self

from oarlock import error  # classes are looked up there when they are raised

from . import _combine
from ._remote import RemoteError, prefix, said

Entry = tuple[str, str, "str | None", "dict[str, Any]"]


class CompositeError(RemoteError, ExceptionGroup[Exception]):
    """Several exceptions of one result, as a group.

    ``except*`` picks exceptions out of it by their types, an index gives one of them. Those that
    results raise are also of the type that all of them have in common, see `of`.

    Args:
        message: what was being done.
        elist: exceptions, or tuples ``(ename, evalue, traceback, engine_info)``; those that are
            composite themselves are replaced by what they hold.

    Raises:
        ValueError: if `elist` is empty.

    Example:
        >>> try:
        ...     view.apply_sync(lambda: 1 / 0)
        ... except* ZeroDivisionError as several:
        ...     print(len(several), several[0])
        2 [0:apply] ZeroDivisionError: division by zero
    """

    tb_limit = 4  # how many are shown in full; meant to be set on the class
    msg: str
    elist: list[Entry]

    def __new__(cls, message: str, elist: Iterable[Exception | Entry]) -> Self:
        return ExceptionGroup.__new__(cls, message, _flat(elist))

    def __init__(self, message: str, elist: Iterable[Exception | Entry]) -> None:
        self.msg = message
        self.elist = [_entry(e) for e in self.exceptions]
        self.args = tuple(entry[0] for entry in self.elist)

    def derive(self, excs: Sequence[Exception]) -> CompositeError:  # type: ignore[override]
        """Make a group of some of the exceptions, as ``except*`` does."""
        return error.CompositeError.of(self.msg, excs)

    @classmethod
    def of(cls, message: str, elist: Iterable[Exception | Entry]) -> CompositeError:
        """Make a group that is also of the type that all its exceptions have in common.

        So ``except ValueError`` around a map catches it if all items that failed raised that, as
        it does with ``multiprocessing.Pool``. Types with a memory layout of their own, as
        ``OSError``, cannot be combined with a group; it is then just a group.

        Args:
            message: what was being done.
            elist: as for the class.
        """
        flat = _flat(elist)
        kind = _combine.common(flat) if flat else None
        typed = None if kind is None else _combine.combine(cls, kind)
        made: CompositeError = (typed or cls)(message, flat)  # type: ignore[assignment]
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        notes = getattr(self, "__notes__", None)
        return (
            _composite,
            (self.msg, list(self.exceptions)),
            {"__notes__": list(notes)} if notes else None,
        )

    def __len__(self) -> int:
        return len(self.exceptions)

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, index: int) -> Exception:
        return self.exceptions[index]

    def __str__(self) -> str:
        lines = [self.msg]
        lines += [
            f"{prefix(info)}: {said(ename, evalue)}"
            for ename, evalue, _, info in self.elist[: self.tb_limit]
        ]
        return "\n".join(lines + self._rest())

    def __repr__(self) -> str:
        return f"CompositeError({len(self.elist)})"

    def _rest(self) -> list[str]:
        more = len(self.elist) - self.tb_limit
        return [f"... {more} more exceptions ..."] if more > 0 else []

    def render_traceback(self, excid: int | None = None) -> list[str]:
        """Give the remote tracebacks, by lines.

        Args:
            excid: only that one; None for the first `tb_limit`.

        Raises:
            IndexError: if there is no such exception.
        """
        if excid is not None:
            return self._one(self._at(excid))
        lines: list[str] = []
        for entry in self.elist[: self.tb_limit]:
            lines += [*self._one(entry), ""]
        return lines + self._rest()

    @staticmethod
    def _one(entry: Entry) -> list[str]:
        ename, evalue, text, info = entry
        return [f"{prefix(info)}:", *(text or said(ename, evalue)).splitlines()]

    def _at(self, excid: int) -> Entry:
        try:
            return self.elist[excid]
        except IndexError:
            raise IndexError(
                f"there is no exception {excid}: this error holds {len(self.elist)}"
            ) from None

    def print_traceback(self, excid: int | None = None) -> None:
        """Print the tracebacks `render_traceback` gives."""
        print("\n".join(self.render_traceback(excid)))

    def raise_exception(self, excid: int = 0) -> NoReturn:
        """Raise one of the exceptions.

        Args:
            excid: which one.

        Raises:
            IndexError: if there is no such exception.
        """
        self._at(excid)
        raise self.exceptions[excid]


class AlreadyDisplayedError(RemoteError):
    """Stands for errors whose tracebacks have been shown already.

    Args:
        original_error: the error that was shown.
    """

    def __init__(self, original_error: CompositeError) -> None:
        self.original_error = original_error
        self.n = len(original_error.elist)
        RemoteError.__init__(self, "AlreadyDisplayedError", f"{self.n} errors")

    def __str__(self) -> str:
        return f"{self.n} errors"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.original_error,)

    def render_traceback(self) -> list[str]:
        """Give one line: how many there were."""
        return [str(self)]


def _entry(error: Exception) -> Entry:
    if isinstance(error, RemoteError):
        return error.ename or "", error.evalue or "", error.traceback, dict(error.engine_info or {})
    return type(error).__name__, str(error), None, {}


def _flat(elist: Iterable[Exception | Entry]) -> list[Exception]:
    flat: list[Exception] = []
    for entry in elist:
        if isinstance(entry, CompositeError):
            flat += entry.exceptions
        else:
            flat.append(entry if isinstance(entry, Exception) else error.RemoteError(*entry))
    return flat


def _composite(message: str, exceptions: list[Exception]) -> CompositeError:
    return error.CompositeError.of(message, exceptions)
