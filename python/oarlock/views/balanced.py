"""`LoadBalancedView`: each call runs once, on whichever engine is free.

One item of a map is one task with its own msg_id and record, but a whole batch of items crosses to
the core at once; the first batch is on its way while later items are still being pickled.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

from oarlock import _oarlock
from oarlock._about import About
from oarlock.mapresult import AsyncMapResult
from oarlock.result import AsyncResult, of_call
from oarlock.serialize import dumps, pack_function
from oarlock.views import chunks
from oarlock.views.base import View, claim, note_running
from oarlock.views.batches import Batch, batch_chunks, batch_rows
from oarlock.views.lazymap import LazyMapIterator
from oarlock.views.rules import Retried
from oarlock.views.targets import normalise

if TYPE_CHECKING:
    from oarlock.client import Client


class LoadBalancedView(Retried, View):
    """Runs each call on one engine, chosen by the controller; gives bare values.

    Work waits for an engine when there is none.

    Attributes:
        targets: None for any engine, or the list of engine ids to choose from.
        chunksize: Items per task of a map, 1 unless set.
        ordered: Whether a map's result iterates in order (true unless set) or as items finish.
        retries: How often a task is run again after its engine ended while it ran, or after an
            exception of `retry_on`; 0 unless set. Each time it goes to another engine where there
            is one. A task that never began is queued again whatever this is, and one under which
            three engines ended is refused with `PoisonTask`.
        retry_on: Exception class, or tuple of them, after which a task is run again; needs
            `retries` and maps of one item per task.
        timeout: Seconds one attempt may run; 0 for as long as it takes. See `TaskTimeout`.
        force: Whether the engine of a task that takes no notice of its timeout is ended.

    Example:
        >>> lview = rc.load_balanced_view()
        >>> lview.map_sync(abs, [-1, 2])
        [1, 2]
    """

    flag_names: ClassVar[tuple[str, ...]] = (
        *View.flag_names,
        "chunksize",
        "ordered",
        "follow",
        "after",
        "timeout",
        "force",
        "retries",
        "retry_on",
    )

    ordered: bool
    # Of the last call; the next one is mostly of the same function.
    _about: About | None = None

    def __init__(self, client: "Client", targets: Any = None, **flags: Any) -> None:
        """Choose among `targets` of `client`.

        Args:
            client: The client whose engines are meant.
            targets: None or ``'all'`` for any engine, an engine id, or an iterable of ids.
            **flags: As for `set_flags`.
        """
        self._chunksize = 1
        self.ordered = True
        super().__init__(client, targets, flags)

    @property
    def targets(self) -> list[int] | None:
        """The engine ids to choose from; None for any engine."""
        return self._targets

    @targets.setter
    def targets(self, targets: Any) -> None:
        aim = normalise(targets)
        if aim == []:
            raise ValueError(
                "targets of a load-balanced view cannot be an empty list; None means any engine"
            )
        self._targets: list[int] | None
        if isinstance(aim, int):
            self._targets = [aim]
        else:
            self._targets = None if isinstance(aim, str) else aim

    @property
    def chunksize(self) -> int:
        """Items per task of a map."""
        return self._chunksize

    @chunksize.setter
    def chunksize(self, chunksize: int) -> None:
        self._chunksize = chunks.checked_chunksize(chunksize)

    # --- flags known to ipyparallel that only have their neutral value here

    @property
    def follow(self) -> None:
        """None: a task cannot be made to follow others."""
        return None

    @follow.setter
    def follow(self, follow: Any) -> None:
        _require_neutral("follow", follow, (None,))

    @property
    def after(self) -> None:
        """None: a task cannot be made to wait for others."""
        return None

    @after.setter
    def after(self, after: Any) -> None:
        _require_neutral("after", after, (None,))

    # --- apply

    def apply_async(self, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> AsyncResult:
        """Call ``f(*args, **kwargs)`` on one engine; returns at once.

        Raises:
            SerializationError: When the function or an argument cannot be pickled.
        """
        # The shortest path of the package: everything is inline and nothing is looked up twice.
        client = self.client
        if client._gone is not None:
            client._check()
        func, body, name = pack_function(self._retried(f))
        core, targets, rules = client._core, self._targets, self._rules
        tasks = None
        if not (kwargs or rules):
            tasks = core.submit_call(func, body, args, targets, self._log)
        label = self.label
        if tasks is None:
            parts = (dumps((args, kwargs)),)
            send = partial(core.submit, func, _oarlock.APPLY, parts, targets, rules=rules)
            tasks = self._submit_with(func, body, send, label)
        elif label is not None:
            client._link.labels.add(tasks.first or 0, 1, label)
        about = self._about
        if about is None or about.fname is not name or about.label is not label:
            about = self._about = About(client, name, single=True, label=label)
        return of_call(about, tasks)

    # --- map

    def map(
        self,
        f: Callable[..., Any],
        /,
        *sequences: Iterable[Any],
        block: bool | None = None,
        chunksize: int | None = None,
        ordered: bool | None = None,
        return_exceptions: bool = False,
        label: str | None = None,
        retries: int | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Call `f` for each item, each call on whichever engine is free.

        Args:
            f: What to call.
            *sequences: One iterable for each argument of `f`; the shortest decides. Generators are
                read while the first items already run.
            block: Whether to wait for the list of values; None for the view's `block`.
            chunksize: Items per task, the last task may have fewer; None for the view's flag.
            ordered: Whether iterating over the result keeps the order; None for the view's flag.
            return_exceptions: Give exceptions in place of the values of failed items.
            label: Stored in the metadata of each task.
            retries: How often each task may be run again; None for the view's flag.
            timeout: Seconds each attempt may run; None for the view's flag.

        Returns:
            A list when blocking, else an `AsyncMapResult`.

        Raises:
            TypeError: Without a sequence, or with one that cannot be iterated.
            ValueError: When `chunksize` is less than 1.
        """
        view = self._allowing(retries, timeout)
        result = view._map(f, sequences, chunksize, ordered, return_exceptions, label)
        return claim(result) if (self.block if block is None else block) else result

    def map_async(
        self,
        f: Callable[..., Any],
        /,
        *sequences: Iterable[Any],
        chunksize: int | None = None,
        ordered: bool | None = None,
        return_exceptions: bool = False,
        label: str | None = None,
        retries: int | None = None,
        timeout: float | None = None,
    ) -> AsyncMapResult:
        """`map` that returns at once."""
        view = self._allowing(retries, timeout)
        return view._map(f, sequences, chunksize, ordered, return_exceptions, label)

    def map_sync(
        self,
        f: Callable[..., Any],
        /,
        *sequences: Iterable[Any],
        chunksize: int | None = None,
        ordered: bool | None = None,
        return_exceptions: bool = False,
        label: str | None = None,
        retries: int | None = None,
        timeout: float | None = None,
    ) -> Any:
        """`map` that waits for the list of values."""
        view = self._allowing(retries, timeout)
        return claim(view._map(f, sequences, chunksize, ordered, return_exceptions, label))

    def imap(
        self,
        f: Callable[..., Any],
        /,
        *sequences: Iterable[Any],
        ordered: bool | None = None,
        max_outstanding: int | str = "auto",
        buffersize: int | None = None,
        return_exceptions: bool = False,
    ) -> LazyMapIterator:
        """Map over input of any length, also endless, in bounded memory.

        Items are read only as fast as the values are taken.

        Args:
            f: What to call.
            *sequences: One iterable for each argument of `f`; the shortest decides.
            ordered: Whether values come in order of the input or as they finish; None for the
                view's flag.
            max_outstanding: How many tasks may be unfinished at a time; ``'auto'`` for twice the
                number of engines, 0 for no bound.
            buffersize: How many items may be submitted whose values were not taken; None for four
                times `max_outstanding`, and without a bound on that for all input at once.
            return_exceptions: Give exceptions in place of raising them.

        Example:
            >>> roots = lview.imap(math.isqrt, itertools.count())
            >>> list(itertools.islice(roots, 5))
            [0, 1, 1, 1, 2]
            >>> roots.cancel()

        Raises:
            TypeError: Without a sequence, with one that cannot be iterated, or when `buffersize` is
                neither a whole number nor None.
            ValueError: When `max_outstanding` is negative, or `buffersize` less than 1.
        """
        self.client._check()
        chunks.require_sequences(sequences)
        return LazyMapIterator(
            self,
            f,
            zip(*sequences, strict=False),
            ordered=self.ordered if ordered is None else ordered,
            max_outstanding=max_outstanding,
            buffersize=buffersize,
            return_exceptions=return_exceptions,
        )

    def _allowing(self, retries: int | None, timeout: float | None) -> Self:
        """This view, for one call with other rules."""
        if retries is None and timeout is None:
            return self
        flags = {"retries": retries, "timeout": timeout}
        return self._flagged({name: flag for name, flag in flags.items() if flag is not None})

    def _map(
        self,
        f: Callable[..., Any],
        sequences: tuple[Iterable[Any], ...],
        chunksize: int | None,
        ordered: bool | None,
        return_exceptions: bool,
        label: str | None,
    ) -> AsyncMapResult:
        self.client._check()
        chunks.require_sequences(sequences)
        size = self._chunksize if chunksize is None else chunks.checked_chunksize(chunksize)
        label = self.label if label is None else label
        if size > 1 and self._retry_on:
            raise ValueError(
                f"retry_on works with one item per task, not with chunksize={size}\n\n"
                "hint: leave chunksize at 1, or catch the exception inside the function"
            )
        func, body, name = pack_function(self._retried(f))
        batches = batch_rows(sequences) if size == 1 else batch_chunks(sequences, size)
        tasks = self._submit_batches(func, body, batches, label)
        about = About(self.client, name, label=label, return_exceptions=return_exceptions)
        in_order = self.ordered if ordered is None else ordered
        return AsyncMapResult(about, tasks, ordered=in_order, chunked=size > 1)

    def _send(
        self,
        func: bytes,
        kind: int,
        payloads: Any,
        items: list[int] | None,
        failed: dict[int, bytes] | None,
    ) -> _oarlock.Tasks:
        core, targets = self.client._core, self._targets
        return core.submit(func, kind, payloads, targets, items, failed, self._rules)

    def _submit_batches(
        self, func: bytes, body: Any, batches: Iterator[Batch], label: str | None
    ) -> _oarlock.Tasks:
        """Send batch after batch. When the input fails half-way, what was sent is cancelled."""
        sent: list[_oarlock.Tasks] = []
        try:
            for batch in batches:
                send = partial(self._send, func, *batch)
                sent.append(self._submit_with(func, body, send, label))
        except Exception:
            if sent:
                self.client._core.cancel(_oarlock.Tasks.join(sent))
            raise
        except KeyboardInterrupt as interrupt:
            if sent:
                note_running(interrupt, self.client, _oarlock.Tasks.join(sent).msg_ids())
            raise
        return sent[0] if len(sent) == 1 else _oarlock.Tasks.join(sent)

    # --- parallel functions

    def _part_count(self, n: int, chunksize: int | None) -> int:
        if chunksize is not None:
            return max(1, -(-n // chunks.checked_chunksize(chunksize)))
        return max(1, min(n, len(self)))

    def _map_parts(
        self,
        f: Callable[..., Any],
        parts: list[tuple[Any, ...]],
        join: Callable[..., Any],
        **options: Any,
    ) -> AsyncMapResult:
        self.client._check()
        func, body, name = pack_function(self._retried(f))
        payloads, failed = chunks.pack_calls(parts)
        label = self.label
        tasks = self._submit_with(
            func, body, lambda: self._send(func, _oarlock.APPLY, payloads, None, failed), label
        )
        keep = options.get("return_exceptions", False)
        about = About(self.client, name, label=label, return_exceptions=keep)
        in_order = options.get("ordered", self.ordered)
        return AsyncMapResult(about, tasks, ordered=in_order, chunked=False, join_parts=join)


def _require_neutral(name: str, value: Any, neutral: tuple[Any, ...]) -> None:
    if value not in neutral:
        raise ValueError(
            f"the flag {name!r} is not supported yet: only {neutral[-1]!r} is accepted, "
            f"not {value!r}"
        )
