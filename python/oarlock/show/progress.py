"""A progress bar for what happens in the core.

In a notebook it is a widget, in a terminal tqdm's bar where that is installed and otherwise a line
of our own; where nobody watches (a file, a pipe) only the final line is printed. The wait is the
core's: it ends the moment the tasks do, and is cut into intervals only to redraw.
"""

import sys
import time
from collections.abc import Callable
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from oarlock._hints import no_engines, why_nothing_runs

if TYPE_CHECKING:
    from oarlock._records import Recorded

_WIDTH = 30


class Bar(Protocol):
    """What is drawn."""

    def show(self, done: int, aside: str = "") -> None:
        """Draw that so many are done; `aside` stands beside it."""
        ...

    def say(self, text: str) -> None:
        """Show a remark; an empty one says that the last no longer holds."""
        ...

    def close(self) -> None:
        """Draw for the last time."""
        ...


def follow(
    result: "Recorded",
    interval: float,
    timeout: float | None,
    widget: bool | None,
    return_when: str,
) -> None:
    """Show the progress of a result until it is done.

    Args:
        result: what to watch.
        interval: seconds between updates.
        timeout: seconds after which to return anyway; None for ever.
        widget: a notebook's bar; None to find out.
        return_when: a constant of `concurrent.futures`.

    Raises:
        ValueError: for another `return_when`.
    """
    tasks = result._tasks
    waits: dict[str, Callable[[float], bool]] = {
        ALL_COMPLETED: tasks.wait,
        FIRST_EXCEPTION: tasks.wait_failed,
        FIRST_COMPLETED: lambda seconds: tasks.wait_count(min(1, len(tasks)), seconds),
    }
    if return_when not in waits:
        raise ValueError(f"return_when is a constant of concurrent.futures, not {return_when!r}")
    total = len(result)
    run(
        waits[return_when],
        lambda: result.progress,
        total,
        result._fname,
        interval,
        timeout,
        widget,
        # That the controller is away was told already.
        remark=lambda: "" if result._client._core.away else why_nothing_runs(result._client),
        aside=lambda: no_engines(result._client),
    )


def run(
    wait: Callable[[float], bool],
    count: Callable[[], int],
    total: int,
    description: str,
    interval: float = 0.1,
    timeout: float | None = None,
    widget: bool | None = None,
    unit: str = "tasks",
    remark: Callable[[], str] | None = None,
    aside: Callable[[], str] | None = None,
) -> bool:
    """Show a bar until `wait` says that it is over.

    Args:
        wait: waits for at most so many seconds; whether all is over.
        count: how many of `total` are done now.
        total: how many there are.
        description: what is being done.
        interval: seconds between updates.
        timeout: seconds after which to return anyway; None for ever.
        widget: a notebook's bar; None to find out.
        unit: what is counted.
        remark: what has to be said about it now, if anything; each remark is shown once.
        aside: what stands beside the numbers as long as it is so.

    Returns:
        Whether it was over before the time was.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    bar = _bar(total, description, unit, widget)
    told = ""
    try:
        while True:
            left = interval if deadline is None else min(interval, deadline - time.monotonic())
            over = wait(max(0.0, left))
            text = remark() if remark is not None and not over else ""
            if text != told:
                bar.say(text)
                told = text
            bar.show(count(), aside() if aside is not None and not over else "")
            if over or (deadline is not None and time.monotonic() >= deadline):
                return over
    finally:
        bar.close()


def in_notebook() -> bool:
    """Tell whether a Jupyter kernel runs this; imports nothing."""
    ipython = sys.modules.get("IPython")
    shell: Any = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


def _after(aside: str) -> str:
    return f", {aside}" if aside else ""


def _one_line(text: str) -> str:
    return text.replace("\n\n", "; ")


def _bar(total: int, description: str, unit: str, widget: bool | None) -> Bar:
    if widget or (widget is None and in_notebook()):
        try:
            return _WidgetBar(total, description, unit)
        except ImportError:
            pass  # no ipywidgets: text is shown in a notebook, too
    if sys.stdout.isatty():
        try:
            return _TqdmBar(total, description, unit)
        except ImportError:
            pass
    return _TextBar(total, description, unit, sys.stdout)


class _TextBar:
    """One line, redrawn in a terminal, printed once elsewhere."""

    def __init__(self, total: int, description: str, unit: str, out: TextIO) -> None:
        self._total, self._description, self._unit, self._out = total, description, unit, out
        self._live = out.isatty()
        self._start = time.monotonic()
        self._done = 0
        self._aside = ""

    def show(self, done: int, aside: str = "") -> None:
        self._done, self._aside = done, aside
        if self._live:
            self._out.write(f"\r{self._line()}\x1b[K")
            self._out.flush()

    def say(self, text: str) -> None:
        if text:
            line = _one_line(text)
            self._out.write(f"\r{line}\x1b[K\n" if self._live else f"{line}\n")
            self._out.flush()

    def close(self) -> None:
        self._out.write("\n" if self._live else f"{self._line()}\n")
        self._out.flush()

    def _line(self) -> str:
        share = self._done / self._total if self._total else 1.0
        bar = "#" * int(share * _WIDTH)
        seconds = time.monotonic() - self._start
        return (
            f"{self._description}: {share:4.0%} |{bar:<{_WIDTH}}| "
            f"{self._done}/{self._total} {self._unit} [{seconds:.1f} s]{_after(self._aside)}"
        )


class _TqdmBar:
    """tqdm's bar, for people who know it."""

    def __init__(self, total: int, description: str, unit: str) -> None:
        from tqdm import tqdm

        # stdout, as everything the user asked to see
        self._bar = tqdm(
            total=total, desc=description, unit=f" {unit}", file=sys.stdout, mininterval=0
        )

    def show(self, done: int, aside: str = "") -> None:
        self._bar.set_postfix_str(aside, refresh=False)
        self._bar.update(done - self._bar.n)

    def say(self, text: str) -> None:
        if text:
            self._bar.write(_one_line(text), file=sys.stdout)

    def close(self) -> None:
        self._bar.close()


class _WidgetBar:
    """A bar and a line of text in the notebook."""

    def __init__(self, total: int, description: str, unit: str) -> None:
        import ipywidgets
        from IPython.display import display

        self._total, self._unit = total, unit
        self._start = time.monotonic()
        self._bar = ipywidgets.IntProgress(min=0, max=max(1, total), description=description)
        self._text, self._remark = ipywidgets.Label(), ipywidgets.Label()
        display(ipywidgets.VBox([ipywidgets.HBox([self._bar, self._text]), self._remark]))

    def show(self, done: int, aside: str = "") -> None:
        self._bar.value = done if self._total else 1
        seconds = time.monotonic() - self._start
        self._text.value = f"{done}/{self._total} {self._unit} [{seconds:.1f} s]{_after(aside)}"

    def say(self, text: str) -> None:
        self._remark.value = _one_line(text)

    def close(self) -> None:
        done = self._bar.value >= self._bar.max
        self._bar.bar_style = "success" if done else "danger"
