"""What a view allows its tasks: how often and how long they may run."""

import operator
from collections.abc import Callable, Iterable
from typing import Any

# Retries, seconds for one attempt (0 for any time), whether the engine may be ended for it.
Rules = tuple[int, float, bool]

_MOST_RETRIES = 0xFFFF


class Ruled:
    """The flags of a view that say what its tasks are allowed.

    Attributes:
        timeout: Seconds one attempt of a task may run; None or 0 for as long as it takes. A task
            that runs longer is interrupted (KeyboardInterrupt in its main thread) and gives
            `TaskTimeout`. Time spent waiting for an engine does not count.
        force: Whether the engine of a task that takes no notice of that for two seconds is ended,
            False unless set.
    """

    _rules: Rules | None = None
    _retries = 0
    _timeout: float = 0
    _force = False

    def _set_rules(self) -> None:
        rules = (self._retries, self._timeout, self._force)
        self._rules = rules if self._retries or self._timeout else None

    @property
    def timeout(self) -> float:
        """Seconds one attempt of a task may run, 0 for as long as it takes."""
        return self._timeout

    @timeout.setter
    def timeout(self, timeout: float | None) -> None:
        timeout = 0 if timeout is None else timeout
        if isinstance(timeout, bool) or not isinstance(timeout, int | float):
            raise TypeError(f"timeout is a number of seconds, not {timeout!r}")
        if not 0 <= timeout < 2**31 / 1000:
            raise ValueError(f"timeout must be from 0 s to 24 days, not {timeout!r} s")
        self._timeout = timeout
        self._set_rules()

    @property
    def force(self) -> bool:
        """Whether an engine may be ended when its task takes no notice of its timeout."""
        return self._force

    @force.setter
    def force(self, force: bool) -> None:
        self._force = bool(force)
        self._set_rules()


class Retried(Ruled):
    """`Ruled`, for tasks that may be run again.

    Attributes:
        retries: How often a task is run again after its engine ended while it ran, or after an
            exception of `retry_on`; 0 unless set. Each time it goes to another engine where there
            is one. A task that never began is queued again whatever this is.
        retry_on: Exception class, or tuple of them, after which a task is run again; none unless
            set.
    """

    _retry_on: tuple[type[BaseException], ...] = ()
    _retrying: "tuple[Any, Retrying] | None" = None

    @property
    def retries(self) -> int:
        """How often a task may be run again."""
        return self._retries

    @retries.setter
    def retries(self, retries: int) -> None:
        count = operator.index(retries)
        if not 0 <= count <= _MOST_RETRIES:
            raise ValueError(f"retries must be from 0 to {_MOST_RETRIES}, not {retries!r}")
        self._retries = count
        self._set_rules()

    @property
    def retry_on(self) -> tuple[type[BaseException], ...]:
        """The exceptions after which a task is run again."""
        return self._retry_on

    @retry_on.setter
    def retry_on(self, kinds: Any) -> None:
        named: Iterable[Any] = () if kinds is None else kinds if _is_many(kinds) else (kinds,)
        named = tuple(named)
        for kind in named:
            if not (isinstance(kind, type) and issubclass(kind, BaseException)):
                raise TypeError(f"retry_on takes exception classes, not {kind!r}")
        self._retry_on = named
        self._retrying = None

    def _retried(self, f: Callable[..., Any]) -> Callable[..., Any]:
        """`f`, such that the engine knows after which exceptions it may be called again."""
        if not self._retry_on or not self._retries:
            return f
        if self._retrying is None or self._retrying[0] is not f:
            self._retrying = f, Retrying(f, self._retry_on)
        return self._retrying[1]


def _is_many(kinds: Any) -> bool:
    return isinstance(kinds, list | tuple | set | frozenset)


class Retrying:
    """A function that may be called again after some exceptions.

    Args:
        function: What is called.
        kinds: After which exceptions.
    """

    # The exception that was raised last by such a function here, for the engine to see.
    raised: BaseException | None = None

    def __init__(
        self, function: Callable[..., Any], kinds: tuple[type[BaseException], ...]
    ) -> None:
        self.function, self.kinds = function, kinds
        # What it is called in messages.
        self.__name__ = getattr(function, "__name__", type(function).__name__)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        try:
            return self.function(*args, **kwargs)
        except self.kinds as raised:
            Retrying.raised = raised
            raise
