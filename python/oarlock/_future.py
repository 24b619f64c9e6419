"""A `concurrent.futures.Future` whose machinery comes into being when somebody uses it.

Most results are asked for their value and nothing else; a condition, a list of waiters and a place
in the dispatcher for each would cost more than the task. So the private fields that the functions
of `concurrent.futures` work with are made on first access. From then on the dispatcher tells when
the tasks are done, and only it changes the state, under the condition, as those functions expect.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NoReturn

from oarlock import error

from . import _outcomes
from ._hints import why_nothing_runs

if TYPE_CHECKING:
    from oarlock import _oarlock
    from oarlock.client import Client

    from ._about import About

# States of `concurrent.futures._base`, by which its functions recognise them.
_PENDING, _NOTIFIED, _FINISHED = "PENDING", "CANCELLED_AND_NOTIFIED", "FINISHED"
_STATE = ("_condition", "_state", "_result", "_exception", "_waiters", "_done_callbacks")

# No wait is longer than this many seconds (30 years); more is for ever.
_FOR_EVER = 1e9


# Seconds an engine is given before it is ended, where no number was said.
_NOTICE = 2.0


def notice(force: bool | float) -> float | None:
    """Seconds after which an engine may be ended, None for never."""
    if isinstance(force, bool):
        return _NOTICE if force else None
    return float(force)


class _Woken:
    """A field of `Future`, made with the others when somebody first looks at one of them.

    A `__getattr__` would do as well, and cost each look at any attribute of a result.
    """

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, result: LazyFuture | None, owner: type) -> Any:
        if result is None:
            return self
        result._wake_up()
        return result.__dict__[self._name]


class LazyFuture(Future[Any]):
    """The side of a result that is a `Future`, a coroutine's awaitable, and can be cancelled."""

    _about: About
    _tasks: _oarlock.Tasks
    _gone: Exception | None = None  # why no outcome will come any more

    # --- what it has in common with others

    @property
    def _client(self) -> Client:
        return self._about.client

    @property
    def _fname(self) -> str:
        return self._about.fname

    @property
    def _targets(self) -> int | Sequence[int] | None:
        return self._about.targets

    @property
    def _single_result(self) -> bool:
        return self._about.single

    @property
    def _label(self) -> str | None:
        return self._about.label

    @property
    def _return_exceptions(self) -> bool:
        return self._about.return_exceptions

    # --- what the functions of concurrent.futures look at

    def _wake_up(self) -> None:
        """Make the fields of a `Future`, and have the dispatcher keep them right."""
        try:
            self._client._check()
        except error.ClosedClient:
            pass  # only a forked child must not touch the tasks
        # Without a lock: threads that come here together agree on the fields one by one, and who
        # sets the last one goes on.
        put = self.__dict__.setdefault
        done = self._tasks.ready()
        put("_result", None)
        put("_exception", None)
        put("_waiters", [])
        put("_done_callbacks", [])
        final = _NOTIFIED if done and self.cancelled() else _FINISHED
        state = put("_state", final if done else _PENDING)
        condition = threading.Condition()
        if put("_condition", condition) is condition and state == _PENDING:
            try:
                self._client._dispatch.watch(self._tasks, self._settle)
            except ConnectionError:
                self._settle()

    def _settle(self) -> None:
        """Tell all who wait that the tasks are done, or will never be."""
        with self._condition:
            if self._state != _PENDING:
                return
            if not self._tasks.ready():
                self._gone = self._why_gone()
            cancelled = self.cancelled()
            self._state = _NOTIFIED if cancelled else _FINISHED
            failed = self._gone is not None or (
                self._tasks.has_failed() and not self._return_exceptions
            )
            for waiter in self._waiters:
                if cancelled:
                    waiter.add_cancelled(self)
                elif failed:
                    waiter.add_exception(self)
                else:
                    waiter.add_result(self)
            self._condition.notify_all()
        self._invoke_callbacks()  # type: ignore[attr-defined]

    def _why_gone(self) -> Exception:
        left = len(self._tasks) - self._tasks.done_count()
        try:
            self._client._check()
        except error.ClosedClient:
            return error.ClosedClient(
                f"the client was closed while {left} of {len(self._tasks)} tasks were unfinished; "
                "their outcomes will not arrive"
            )
        return error.ControllerLost(
            f"the controller is gone while {left} of {len(self._tasks)} tasks were unfinished; "
            "what happened to them is unknown"
        )

    # --- state

    def done(self) -> bool:
        """Tell whether all is over, well or badly."""
        return self._tasks.ready() or self._gone is not None

    def cancelled(self) -> bool:
        """Tell whether every task ended by being cancelled."""
        tasks = self._tasks
        count = len(tasks)
        return count > 0 and tasks.ready() and tasks.statuses().count(_outcomes.CANCELLED) == count

    def running(self) -> bool:
        """Tell whether some task was started and not all are done."""
        tasks = self._tasks
        if tasks.ready():
            return False
        return tasks.done_count() > 0 or any(
            tasks.stamps(i)[1] is not None for i in range(len(tasks))
        )

    def cancel(self, force: bool | float = False) -> bool:
        """Ask that tasks not yet started never start, and that running ones are interrupted.

        A running one gets a KeyboardInterrupt in its main thread.

        Args:
            force: Whether the engine of a running one that takes no notice is ended: True for
                after 2 s, or a number of seconds.

        Returns:
            False if all were done already. True says that the controller was asked; `cancelled`
            tells, once the result is ready, whether it came in time for all of them.

        Raises:
            ClosedClient: if the client was closed.
        """
        if self._tasks.ready():
            return False
        self._client._check()
        self._client._core.cancel(self._tasks, notice(force))
        return True

    # --- how waits begin and end

    def _enter(self) -> None:
        """Refuse what cannot end: in a forked child, or unfinished when the client closed."""
        try:
            self._client._check()
        except error.ClosedClient:
            if not self._tasks.ready():
                raise self._why_gone() from None
        if self._gone is not None and not self._tasks.ready():
            raise self._gone.with_traceback(None)

    def _blocked(self, wait: Callable[..., Any], *args: Any) -> Any:
        try:
            return wait(*args)
        except error.KernelError:
            raise
        except ConnectionError as cause:
            raise self._why_gone() from cause

    def _late(self, timeout: float | None) -> NoReturn:
        tasks = self._tasks
        others = why_nothing_runs(self._client) or (
            "the others go on\n\nhint: ask again later, or cancel()"
        )
        raise error.TimeoutError(
            f"{self._fname}: {tasks.done_count()} of {len(tasks)} tasks are done "
            f"after {timeout} s; {others}"
        )

    # --- asyncio

    def __await__(self) -> Generator[Any, None, Any]:
        """Give in a coroutine what `result` gives.

        Cancelling the coroutine leaves the tasks alone; `cancel` is there for that.
        """
        return self._arrival().__await__()

    async def _arrival(self) -> Any:
        if not self.done():
            await self._until()
        return self.result(0)

    async def _until(self, index: int | None = None, count: int | None = None) -> None:
        """Wait in a coroutine until all tasks are done, or one, or so many.

        Raises:
            ControllerLost: if that will never be.
        """
        import asyncio

        self._client._check()
        loop = asyncio.get_running_loop()
        arrived: asyncio.Future[bool] = loop.create_future()

        def arrive() -> None:
            if not arrived.done():
                arrived.set_result(True)

        def tell() -> None:
            try:
                loop.call_soon_threadsafe(arrive)
            except RuntimeError:
                pass  # the loop was closed; nobody waits any more

        dispatch = self._client._dispatch
        token = dispatch.watch(self._tasks, tell, index=index, count=count)
        try:
            await arrived
        finally:
            dispatch.forget(token)
        if self._client._core.closed and not self._tasks.ready():
            raise self._why_gone()


for _field in _STATE:
    setattr(LazyFuture, _field, _Woken(_field))


def seconds(timeout: float | None) -> float | None:
    """Give a timeout as the core takes it: None for ever."""
    return None if timeout is None or timeout < 0 or timeout > _FOR_EVER else timeout
