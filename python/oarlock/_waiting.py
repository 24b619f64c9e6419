"""`Waiting`: what a client can wait for."""

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from oarlock import _arrivals, _jobs

if TYPE_CHECKING:
    from oarlock import _oarlock
    from oarlock.client import Client
    from oarlock.result import AsyncResult


class Waiting:
    """Base of `Client`; has no state of its own."""

    if TYPE_CHECKING:
        _core: _oarlock.Client

        @property
        def outstanding(self) -> set[str]: ...
        def _check(self) -> None: ...
        def _result_of(self, jobs: Any) -> AsyncResult: ...

    def wait(self, jobs: Any = None, timeout: float | None = -1) -> bool:
        """Wait until jobs are done; never raises what a task raised.

        Args:
            jobs: An index into `history`, a msg_id, an `AsyncResult` or other future, or an
                iterable of these; None for all that is outstanding.
            timeout: Seconds; None or negative for ever, 0 to look only.

        Returns:
            Whether all are done. An id nobody knows counts as done.
        """
        self._check()
        seconds = None if timeout is None or timeout < 0 else timeout
        return self._core.wait_idle(seconds) if jobs is None else _jobs.wait(self, jobs, seconds)  # type: ignore[arg-type]

    def wait_interactive(
        self, jobs: Any = None, interval: float = 1.0, timeout: float | None = -1.0
    ) -> None:
        """Wait with a progress bar.

        Args:
            jobs: As for `wait`.
            interval: Seconds between looks of the bar.
            timeout: Seconds; None or negative for ever. Returns quietly when it runs out.
        """
        self._check()
        ids = sorted(self.outstanding) if jobs is None else _jobs.msg_ids(self, jobs)  # type: ignore[arg-type]
        if ids:
            self._result_of(ids).wait_interactive(interval, -1 if timeout is None else timeout)

    def wait_for_engines(
        self,
        n: int | None = None,
        *,
        timeout: float | None = -1,
        block: bool = True,
        interactive: bool | None = None,
        widget: bool | None = None,
    ) -> "Future[None] | None":
        """Wait until there are at least `n` engines.

        Args:
            n: How many; None for as many as `cluster` was made for.
            timeout: Seconds; None or negative for ever.
            block: Whether to wait here.
            interactive: Whether to show progress; None for yes inside IPython, unless the
                environment variable ``OARLOCK_NONINTERACTIVE`` is set.
            widget: Kept for compatibility: progress is shown as text.

        Returns:
            None when blocking, else a future of None.

        Raises:
            TypeError: When `n` is None and there is no cluster to ask.
            TimeoutError: When the engines are not there in time; says how many are.
            EngineError: When an engine is lost meanwhile, or ended before it joined.
        """
        self._check()
        client: Client = self  # type: ignore[assignment]
        return _arrivals.wait_for_engines(
            client, n, timeout=timeout, block=block, interactive=interactive
        )

    def spin(self) -> None:
        """Do nothing, at no cost: results and their stamps arrive without it."""

    def spin_thread(self, interval: float = 1) -> None:
        """Do nothing; see `spin`."""

    def stop_spin_thread(self) -> None:
        """Do nothing; see `spin`."""
