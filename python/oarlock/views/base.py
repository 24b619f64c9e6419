"""What every view has: flags, the blocking and the asynchronous form of each call, its own history.

A view holds no connection and no results; it turns a Python call into one submission to the core
and hands back an `AsyncResult`. Flags are plain attributes, read at the moment of each call.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Self

from oarlock import _oarlock
from oarlock._books import KnownResults, MsgIds

if TYPE_CHECKING:
    from concurrent.futures import Future

    from oarlock._decorated import ParallelFunction, RemoteFunction
    from oarlock.client import Client
    from oarlock.mapresult import AsyncMapResult
    from oarlock.result import AsyncResult
    from oarlock.views.executor import ViewExecutor

# From this likeness on, of 1, a new attribute of a view is taken for a flag misspelt.
_SIMILAR = 0.75

# Ids named in the note on an interrupted call; the rest are counted.
_NOTED_IDS = 3


def claim(result: "AsyncResult") -> Any:
    """Wait for `result` and give its value.

    Raises:
        KeyboardInterrupt: As it came, within 0.1 s. The tasks go on; a note says how to reach them.
    """
    try:
        return result.get()
    except KeyboardInterrupt as interrupt:
        note_running(interrupt, result._client, result.msg_ids)
        raise


def note_running(interrupt: BaseException, client: "Client", msg_ids: list[str]) -> None:
    """Note on `interrupt` that these tasks go on, and how to get at them."""
    if not msg_ids:
        return
    shown = ", ".join(map(repr, msg_ids[:_NOTED_IDS]))
    more = f" and {len(msg_ids) - _NOTED_IDS} more" if len(msg_ids) > _NOTED_IDS else ""
    last = f"view.history[-{len(msg_ids)}:]"
    # A cluster of this program ends with it, or with its `with` block.
    until = " until the cluster is stopped" if client.cluster is not None else ""
    interrupt.add_note(
        f"the wait was interrupted, the work goes on{until}: {shown}{more}\n"
        f"hint: client.get_result({last}) gives the results, client.abort({last}) stops the tasks"
    )


class View(ABC):
    """Base of `DirectView` and `LoadBalancedView`.

    Attributes:
        client: The client whose engines this view addresses.
        block: Whether `apply` and `map` wait for the value. Copied from the client when the view
            is made.
        track: Kept for compatibility. Arguments are pickled or held before a call returns.
        label: Stored in the metadata of each task, None for no label.
    """

    flag_names: ClassVar[tuple[str, ...]] = ("targets", "block", "track", "label")

    targets: Any
    block: bool
    track: bool
    label: str | None

    def __init__(self, client: "Client", targets: Any, flags: Mapping[str, Any]) -> None:
        """Address `targets` of `client`; `flags` as for `set_flags`."""
        self.client = client
        self.block = client.block
        self.track = False
        self.label = None
        self._log = _oarlock.Log()
        self.targets = targets
        self.set_flags(**flags)

    # --- flags

    def __setattr__(self, name: str, value: Any) -> None:
        # A flag that is misspelt would have no effect, and nobody would know. A call reads flags
        # and sets none, so this costs it nothing.
        if name == "block" and isinstance(value, str):
            raise TypeError(f"block is True or False, not {value!r}")
        if not (name in self.flag_names or name.startswith("_") or hasattr(type(self), name)):
            self._refuse_misspelt(name)
        super().__setattr__(name, value)

    def _refuse_misspelt(self, name: str) -> None:
        if name == "client":
            return
        import difflib

        meant = difflib.get_close_matches(name, self.flag_names, 1, _SIMILAR)
        if meant:
            raise AttributeError(
                f"a {type(self).__name__} has no flag {name!r}\n\nhint: did you mean {meant[0]!r}?",
                name=name,
                obj=self,
            )

    def set_flags(self, **flags: Any) -> Self:
        """Set several flags at once; all of them or, when one is wrong, none.

        Args:
            **flags: Values by name; `flag_names` lists the names.

        Returns:
            The view itself.

        Raises:
            KeyError: For a name that is no flag of this kind of view.
            ValueError: For a value the flag cannot have.
        """
        for name in flags:
            if name not in self.flag_names:
                raise KeyError(
                    f"{name!r} is no flag of a {type(self).__name__}; "
                    f"there are {', '.join(self.flag_names)}"
                )
        before = {name: getattr(self, name) for name in flags}
        try:
            for name, value in flags.items():
                setattr(self, name, value)
        except BaseException:
            for name, value in before.items():
                setattr(self, name, value)
            raise
        return self

    @contextmanager
    def temp_flags(self, **flags: Any) -> Iterator[None]:
        """Set flags for the length of a ``with`` block, then restore all flags as they were.

        Example:
            >>> with view.temp_flags(block=True):
            ...     view.apply(abs, -1)
            [1, 1]
        """
        before = {name: getattr(self, name) for name in self.flag_names}
        self.set_flags(**flags)
        try:
            yield
        finally:
            self.set_flags(**before)

    def _flagged(self, flags: Mapping[str, Any]) -> Self:
        """This view with other flags, sharing its history.

        The original is left alone, so that no other thread sees the flags of this call.
        """
        return copy.copy(self).set_flags(**flags)

    # --- apply

    def apply(self, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call ``f(*args, **kwargs)`` on the engines.

        Returns:
            The value when `block` is set, else an `AsyncResult`.
        """
        if self.block:
            return claim(self.apply_async(f, *args, **kwargs))
        return self.apply_async(f, *args, **kwargs)

    @abstractmethod
    def apply_async(self, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "AsyncResult":
        """Call ``f(*args, **kwargs)`` on the engines; returns at once."""

    def apply_sync(self, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call ``f(*args, **kwargs)`` on the engines and wait for the value.

        Raises:
            RemoteError: What the function raised; it is also an instance of the original type.
            KeyboardInterrupt: On Ctrl-C, within 0.1 s; the work goes on.
        """
        return claim(self.apply_async(f, *args, **kwargs))

    # --- map; the concrete views define `map_async` and `imap`

    @abstractmethod
    def map_async(self, f: Callable[..., Any], /, *sequences: Iterable[Any]) -> "AsyncMapResult":
        """Call `f` for each item, or each row of items of several sequences; returns at once."""

    @abstractmethod
    def _map_parts(
        self,
        f: Callable[..., Any],
        parts: list[tuple[Any, ...]],
        join: Callable[..., Any],
        **options: Any,
    ) -> "AsyncMapResult":
        """Call ``f(*part)`` once for each part, spread over the engines; `join` makes one value."""

    @abstractmethod
    def _part_count(self, n: int, chunksize: int | None) -> int:
        """Into how many parts `n` items are cut for `_map_parts`; at least 1."""

    # --- decorators

    def remote(
        self, block: bool | None = None, **flags: Any
    ) -> "Callable[[Callable[..., Any]], RemoteFunction]":
        """Decorator: calling the function runs it through this view.

        Args:
            block: Whether a call waits; None for what the view's `block` is now.
            **flags: Further flags for these calls.
        """
        from oarlock._decorated import remote

        return remote(self, block=self.block if block is None else block, **flags)

    def parallel(
        self, dist: str = "b", block: bool | None = None, **flags: Any
    ) -> "Callable[[Callable[..., Any]], ParallelFunction]":
        """Decorator: calling the function cuts its arguments and runs it once on each part.

        Args:
            dist: How to cut: ``'b'`` in blocks, ``'r'`` round robin.
            block: Whether a call waits; None for what the view's `block` is now.
            **flags: Further flags for these calls.
        """
        from oarlock._decorated import parallel

        return parallel(self, dist=dist, block=self.block if block is None else block, **flags)

    @property
    def executor(self) -> "ViewExecutor":
        """A `concurrent.futures.Executor` that submits through this view."""
        from oarlock.views.executor import ViewExecutor

        return ViewExecutor(self)

    # --- books

    @property
    def history(self) -> MsgIds:
        """The msg_ids of all tasks submitted through this view, in order."""
        return MsgIds(self.client.session, self._log.ranges())

    @property
    def outstanding(self) -> set[str]:
        """The msg_ids of this view's tasks that have not finished."""
        ours = self.history
        return {msg_id for msg_id in self.client._core.outstanding() if msg_id in ours}

    @property
    def results(self) -> KnownResults:
        """Unclaimed results of this view's tasks, by msg_id."""
        return KnownResults(self.client, within=lambda: self.history)

    # --- delegates to the client, narrowed to this view

    def wait(self, jobs: Any = None, timeout: float | None = -1) -> bool:
        """Wait for `jobs`, by default for all tasks of this view; see `Client.wait`."""
        if jobs is None:
            jobs = self.outstanding
        return self.client.wait(self._by_history(jobs), timeout)

    def abort(
        self,
        jobs: Any = None,
        targets: Any = None,
        block: bool | None = None,
        force: bool | float = False,
    ) -> "Future[None] | None":
        """Cancel `jobs`, by default all unfinished tasks of this view; see `Client.abort`."""
        if jobs is None:
            jobs = self.outstanding
        return self.client.abort(
            self._by_history(jobs), targets, self.block if block is None else block, force
        )

    def get_result(
        self, indices_or_msg_ids: Any = None, block: bool | None = None, owner: bool = False
    ) -> Any:
        """The result of tasks again; see `Client.get_result`. Indexes count in this history."""
        if indices_or_msg_ids is None:
            indices_or_msg_ids = -1
        return self.client.get_result(
            self._by_history(indices_or_msg_ids), self.block if block is None else block, owner
        )

    def queue_status(self, targets: Any = None, verbose: bool = False) -> dict[Any, Any]:
        """How many tasks wait, by default on this view's engines; see `Client.queue_status`."""
        return self.client.queue_status(self._own_targets(targets), verbose)

    def purge_results(self, jobs: Any = (), targets: Any = ()) -> None:
        """Drop results here and at the controller; see `Client.purge_results`."""
        self.client.purge_results(jobs if jobs == "all" else self._by_history(jobs), targets)

    def shutdown(
        self,
        targets: Any = None,
        restart: bool = False,
        hub: bool = False,
        block: bool | None = None,
    ) -> "Future[None] | None":
        """End engines, by default this view's; see `Client.shutdown`."""
        return self.client.shutdown(
            self._own_targets(targets), restart, hub, self.block if block is None else block
        )

    def spin(self) -> None:  # noqa: B027 - nothing to do is what every view has in common
        """Do nothing, at no cost: results arrive without it."""

    def _own_targets(self, targets: Any) -> Any:
        if targets is None:
            targets = self.targets
        return "all" if targets is None else targets

    def _by_history(self, jobs: Any) -> Any:
        """`jobs` with indexes replaced by the msg_ids of this view's history."""
        if isinstance(jobs, int):
            return self.history[jobs]
        if isinstance(jobs, list | tuple | set | frozenset):
            return [self._by_history(job) if isinstance(job, int) else job for job in jobs]
        return jobs

    # --- submission, shared

    def _submit_with(
        self,
        func: bytes,
        body: Any,
        send: Callable[[], _oarlock.Tasks],
        label: str | None = None,
    ) -> _oarlock.Tasks:
        """Call `send` while the core is sure to know `func`, and enter its tasks in the books."""
        core = self.client._core
        core.pin_function(func, body)
        try:
            tasks = send()
        finally:
            core.unpin_function(func)
        self._log.add(tasks)
        if label is not None and tasks.first is not None:
            self.client._link.labels.add(tasks.first, len(tasks), label)
        return tasks

    def __len__(self) -> int:
        """Number of engines addressed."""
        targets = self.targets
        if targets is None or targets == "all":
            return len(self.client)
        return 1 if isinstance(targets, int) else len(targets)

    def __bool__(self) -> bool:
        """Always true: a view of no engines is still a view."""
        return True

    def __repr__(self) -> str:
        """The kind of view and its targets, shortened."""
        targets = str(self.targets)
        if len(targets) > 16:
            targets = targets[:12] + "...]"
        return f"<{type(self).__name__} {targets}>"
