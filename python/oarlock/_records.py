"""What a result knows of its tasks: outcomes, records, times, progress, output."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ALL_COMPLETED
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from oarlock import error

from . import _outcomes
from ._future import LazyFuture, seconds
from ._outcomes import PENDING, UNREAD, Cells, Failed, Given, Outcomes, Partial, failures
from .metadata import KEYS, STATUS, Metadata

_UNSET: Any = object()


class Recorded(LazyFuture):
    """The side of a result that says what its tasks gave and how they fared."""

    _cells: Cells | None = None
    _value: Any = None
    _failure: Any = _UNSET

    # --- outcomes

    def _read(self) -> Cells:
        if self._cells is not None:
            return self._cells
        return self._keep(Outcomes(self._client._core, self._tasks))

    def _keep(self, made: Cells) -> Cells:
        """Make these the cells unless there are some; gives the same ones to all threads."""
        # Not by `__dict__`, which is made only when somebody looks at it.
        with _outcomes.store:
            if self._cells is None:
                # A value that was read without cells is the one they give.
                self._cells = made if self._failure is _UNSET else Given(self._value)
            return self._cells

    def _has_plain(self) -> bool:
        """Whether this is a single result whose small plain value is there; then `_value` has it.

        The short way to the value of most calls. It is taken only before anybody has read cells,
        and whoever reads them later finds the same one.
        """
        if not self._about.single or self._cells is not None:
            return False
        value = self._tasks.value(UNREAD)
        if value is UNREAD:
            return False
        with _outcomes.store:
            if self._cells is not None:
                return False  # another thread reads it, and frees its bytes
            if self._failure is _UNSET:
                self._value = value
                self._failure = None
        self._tasks.release()
        return True

    def _all_cells(self) -> list[Any]:
        return self._read().read(range(len(self._tasks)))

    def _cell(self, index: int) -> Any:
        """The outcome of one task, which must be there."""
        self._enter()
        if self._tasks.status(index) == PENDING:
            raise error.TimeoutError(
                f"{self!r}: task {index} is not done\n\nhint: wait() first, or iterate"
            )
        return self._read().read((index,))[0]

    def _error_of(self, index: int) -> BaseException | None:
        found = failures(self._cell(index))
        return found[0] if found else None

    def _verdict(self) -> Exception | None:
        """Make the value, or the exception that stands in its place, the same one at each call."""
        if self._failure is _UNSET:
            cells = self._all_cells()
            bad = [cell for cell in cells if type(cell) in (Failed, Partial)]
            if not bad:
                failure: Exception | None = None
                self.__dict__.setdefault("_value", self._assemble(cells, False))
            else:
                failure = self._judge([each for cell in bad for each in failures(cell)])
            self.__dict__.setdefault("_failure", failure)
        verdict: Exception | None = self._failure
        return verdict

    def _judge(self, found: list[Exception]) -> Exception:
        """The one exception that stands for these."""
        if self._single_result and len(found) == 1:
            return found[0]
        for failure in found:
            # Nothing of the result can be had any more: not a failure of some tasks among others.
            if type(failure) in (error.ClosedClient, error.ControllerLost):
                return failure
        if self.cancelled():
            count = len(self._tasks)
            which = "the task" if count == 1 else f"all {count} tasks"
            were = "was" if count == 1 else "were"
            return error.TaskCancelled(f"{which} of {self._fname} {were} cancelled")
        return error.compose(self._fname, found)

    def _assemble(self, cells: list[Any], keep: bool) -> Any:
        """The value, exceptions included; `keep` says that there may be some."""
        raise NotImplementedError

    # --- records and times

    @property
    def msg_ids(self) -> list[str]:
        """The ids of the tasks; also of a single result it is a list."""
        return self._tasks.msg_ids()

    @property
    def owner(self) -> bool:
        """True: the value is kept here, and the client need not keep it."""
        return True

    @property
    def metadata(self) -> Any:
        """The record of a single result's task, otherwise a list of records; live."""
        records = self.__dict__.get("_records")
        if records is None:
            made = [
                Metadata(self._tasks, i, self._label, self._error_of)
                for i in range(len(self._tasks))
            ]
            records = self.__dict__.setdefault("_records", made)
        return records[0] if self._single_result else records

    def _column(self, key: str) -> Any:
        """One entry of metadata, for a list result that of each task."""
        if key not in KEYS:
            raise KeyError(key)
        if self._single_result:
            return self.metadata[key]
        if "_records" not in self.__dict__:  # these have a short way for all tasks together
            if key == "engine_id":
                return self._tasks.engines()
            if key == "msg_id":
                return self._tasks.msg_ids()
            if key == "status":
                return [STATUS[status] for status in self._tasks.statuses()]
        return [record[key] for record in self.metadata]

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """The keys of metadata are attributes, see below."""

    @property
    def progress(self) -> int:
        """How many of ``len(self)`` are done."""
        return self._tasks.done_count()

    @property
    def elapsed(self) -> float:
        """Seconds since the first submission, up to now or to the arrival of the last outcome."""
        return self._tasks.elapsed()

    @property
    def serial_time(self) -> float:
        """Seconds the engines computed, all tasks together.

        Raises:
            TimeoutError: before the end.
        """
        self._require_ready("serial_time")
        return self._tasks.serial_time()

    @property
    def wall_time(self) -> float:
        """Seconds from the first submission to the arrival of the last outcome.

        Arrivals are stamped when they happen, whatever this program was doing.

        Raises:
            TimeoutError: before the end.
        """
        self._require_ready("wall_time")
        return self._tasks.wall_time()

    def _require_ready(self, what: str) -> None:
        if not self._tasks.ready():
            raise error.TimeoutError(
                f"{what} of {self!r} is not known before the end\n\n"
                "hint: call wait() first; `elapsed` and `stream_output` tell of what still runs"
            )

    def timedelta(
        self,
        start: Any,
        end: Any,
        start_key: Callable[..., Any] = min,
        end_key: Callable[..., Any] = max,
    ) -> float:
        """Give the seconds between two stamps.

        Args:
            start: a datetime, or several.
            end: a datetime, or several.
            start_key: picks one of several.
            end_key: picks one of several.

        Example:
            >>> result = view.map_async(abs, range(4))
            >>> result.wait()
            True
            >>> result.timedelta(result.submitted, result.received) > 0
            True
        """
        first: datetime = start if isinstance(start, datetime) else start_key(start)
        last: datetime = end if isinstance(end, datetime) else end_key(end)
        return (last - first).total_seconds()

    # --- showing

    def wait_interactive(
        self,
        interval: float = 0.1,
        timeout: float | None = -1,
        widget: bool | None = None,
        return_when: str = ALL_COMPLETED,
    ) -> None:
        """Wait with a progress bar; returns when done or when the time is over.

        Args:
            interval: seconds between updates.
            timeout: seconds; None or negative for ever.
            widget: a bar of the notebook; None to find out.
            return_when: a constant of `concurrent.futures`.

        Raises:
            ValueError: for another `return_when`.
        """
        from .show.progress import follow

        self._enter()
        self._blocked(follow, self, interval, seconds(timeout), widget, return_when)

    def stream_output(self) -> AbstractContextManager[None]:
        """Echo the output of the tasks here while the block runs, what is there already first."""
        from .show.output import Stream

        return Stream(self)

    def display_outputs(self, groupby: str = "type", result_only: bool = False) -> None:
        """Show what the tasks wrote.

        Args:
            groupby: ``type`` (all stdout, then all stderr), ``engine``, or ``order``.
            result_only: only results of executed code, no output.

        Raises:
            ValueError: for another `groupby`.
            TimeoutError: before the end.
        """
        from .show.output import display

        if groupby not in ("type", "engine", "order"):
            raise ValueError(f"groupby is 'type', 'engine' or 'order', not {groupby!r}")
        self._require_ready("the output")
        display(self, groupby, result_only)


class _Column:
    """A key of metadata as an attribute of a result."""

    __slots__ = ("_key",)

    def __init__(self, key: str) -> None:
        self._key = key

    def __get__(self, result: Recorded | None, owner: type) -> Any:
        return self if result is None else result._column(self._key)


for _key in KEYS:
    if not hasattr(Recorded, _key):
        setattr(Recorded, _key, _Column(_key))
