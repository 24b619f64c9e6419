"""Shows what tasks wrote: all at the end, or live while they run."""

import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from oarlock import error
from oarlock.metadata import plain

if TYPE_CHECKING:
    from oarlock._records import Recorded

_NAMES = {1: "stdout", 2: "stderr"}
# Seconds after which live output is shown; not noticed by people, and rare enough to cost nothing.
_REFRESH = 0.05


class _Writer:
    """Writes pieces of text, each under the label of where it came from."""

    def __init__(self) -> None:
        self._label = ""
        self._last: TextIO | None = None
        self._in_line = False

    def write(self, label: str, text: str, stream: int) -> None:
        """Write `text` to stdout (1) or stderr (2); the label first unless it is that of before."""
        if not text:
            return
        out = sys.stdout if stream == 1 else sys.stderr
        if label != self._label:
            self.end_line()
            if label:
                out.write(f"{label} \n")
            self._label = label
        out.write(text)
        out.flush()
        self._last, self._in_line = out, not text.endswith("\n")

    def end_line(self) -> None:
        """Begin a new line unless one has just begun."""
        if self._in_line and self._last is not None:
            self._last.write("\n")
            self._last.flush()
        self._in_line = False


def display(result: "Recorded", groupby: str, result_only: bool) -> None:
    """Show what the tasks of a finished result wrote.

    Args:
        result: the result.
        groupby: ``type``, ``engine`` or ``order``.
        result_only: only results of executed code.
    """
    records = [result.metadata] if result._single_result else result.metadata
    tasks = [(i, 0 if result._single_result else 1) for i in range(len(records))]
    writer = _Writer()
    if not result_only:
        if groupby == "engine":
            for i, labelled in tasks:
                _streams(writer, records[i], bool(labelled), (1, 2))
                _rich(writer, records[i], bool(labelled))
        else:
            for stream in (1, 2):
                for i, labelled in tasks:
                    _streams(writer, records[i], bool(labelled), (stream,))
            _rich_all(writer, records, not result._single_result, groupby)
    writer.end_line()
    for record in records:
        if record.execute_result is not None:
            _publish(record.execute_result)


def _streams(writer: _Writer, record: Any, labelled: bool, streams: tuple[int, ...]) -> None:
    for stream in streams:
        name = _NAMES[stream]
        writer.write(f"[{name}:{record.engine_id}]" if labelled else "", record[name], stream)


def _rich(writer: _Writer, record: Any, labelled: bool) -> None:
    for content in record.outputs:
        _output(writer, record, content, labelled)


def _rich_all(writer: _Writer, records: list[Any], labelled: bool, groupby: str) -> None:
    if groupby == "type":
        for record in records:
            _rich(writer, record, labelled)
        return
    # The first display of every engine together, then the second, for as long as any has one.
    for turn in range(max((len(record.outputs) for record in records), default=0)):
        for record in records:
            if turn < len(record.outputs):
                _output(writer, record, record.outputs[turn], labelled)


def _output(writer: _Writer, record: Any, content: Any, labelled: bool) -> None:
    if "IPython" in sys.modules:
        if labelled:
            writer.write(f"[output:{record.engine_id}]", "\n", 1)
        _publish(content)


def _publish(content: Any) -> None:
    """Hand a display to IPython; a plain program has nothing that could show it."""
    if "IPython" in sys.modules:
        from IPython.display import publish_display_data

        publish_display_data(data=content["data"], metadata=content.get("metadata", {}))


class Stream:
    """Echoes the output of a result's tasks while its block runs.

    One thread reads what is new, from an offset for each task and stream: nothing is shown twice,
    and leaving the block shows what has arrived by then.

    Args:
        result: the result.
    """

    def __init__(self, result: "Recorded") -> None:
        self._result = result
        self._tasks = result._tasks
        self._labelled = not result._single_result
        self._open = list(range(len(self._tasks)))
        self._shown: dict[tuple[int, int], int] = {}
        self._tracebacks = 0
        self._writer = _Writer()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> None:
        self._echo()
        if self._open:
            self._thread = threading.Thread(target=self._run, name="oarlock-output", daemon=True)
            self._thread.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ending.set()
        if self._thread is not None:
            self._thread.join()
        self._echo()
        self._writer.end_line()

    def _run(self) -> None:
        seen = None
        try:
            while self._open and not self._ending.is_set():
                # Ends with the last task; else this is how often new output is looked for.
                done = self._tasks.wait(_REFRESH)
                # Output may arrive before the news of where the task runs.
                unplaced = self._tasks.engines().count(None)
                now = self._tasks.output_version(), self._tasks.done_count(), unplaced
                if now != seen or done:
                    seen = now
                    self._echo()
        except ConnectionError:
            return  # the client was closed; who waits for the result is told

    def _echo(self) -> None:
        """Show what is new, and take leave of tasks that are done."""
        still_open = []
        for index in self._open:
            # Asked first: all output is there when a task is done.
            done = self._tasks.status(index) != 0
            if done or not self._labelled or self._tasks.engine(index) is not None:
                self._show_new(index)
            if done:
                self._show_error(index)
            else:
                still_open.append(index)
        self._open = still_open

    def _show_new(self, index: int) -> None:
        for stream, name in _NAMES.items():
            text = self._tasks.output(index, stream)  # type: ignore[arg-type]
            shown = self._shown.get((index, stream), 0)
            if len(text) > shown:
                self._shown[index, stream] = len(text)
                label = f"[{name}:{self._tasks.engine(index)}]" if self._labelled else ""
                self._writer.write(
                    label, plain(text[shown:]) if not sys.stdout.isatty() else text[shown:], stream
                )

    def _show_error(self, index: int) -> None:
        if self._tasks.status(index) == 1:
            return
        failure = self._result._error_of(index)
        if failure is None:
            return
        self._tracebacks += 1
        short = self._tracebacks > error.CompositeError.tb_limit or not isinstance(
            failure, error.RemoteError
        )
        text = str(failure) if short else "\n".join(failure.render_traceback())  # type: ignore[attr-defined]
        label = f"[error:{self._tasks.engine(index)}]" if self._labelled else ""
        self._writer.write(label, f"{text}\n", 2)
