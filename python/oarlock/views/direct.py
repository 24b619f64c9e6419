"""`DirectView`: the same work on every engine named, or a share of it on each.

A map is one chunk per engine, cut before it is sent; the engines zip the argument sequences.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from oarlock import _oarlock, namespace, partition
from oarlock._about import About
from oarlock.mapresult import AsyncMapResult
from oarlock.result import AsyncResult
from oarlock.serialize import dumps, pack_function
from oarlock.views import chunks
from oarlock.views.base import claim
from oarlock.views.spaces import NamespaceView
from oarlock.views.targets import Targets, resolve

if TYPE_CHECKING:
    from oarlock.client import Client


class DirectView(NamespaceView):
    """Runs each call on all of its engines.

    A view of one engine (``client[0]``) gives bare values; any other gives lists in the order of
    the targets, also when there is only one.

    Attributes:
        targets: ``'all'`` (the engines there are at each call), an engine id, or a list of ids.

    Example:
        >>> view = rc[:]
        >>> view.apply_sync(pow, 2, 10)
        [1024, 1024]
        >>> view["a"] = 5
        >>> view.map_sync(lambda x: x + a, range(4))
        [5, 6, 7, 8]
    """

    def __init__(self, client: "Client", targets: Any = "all", **flags: Any) -> None:
        """Address `targets` of `client`.

        Args:
            client: The client whose engines are meant.
            targets: ``'all'``, an engine id, or an iterable of engine ids.
            **flags: As for `set_flags`; also `timeout` and `force`.
        """
        super().__init__(client, targets, flags)

    # --- apply

    def apply_async(self, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> AsyncResult:
        """Call ``f(*args, **kwargs)`` on every engine of the view; returns at once.

        Raises:
            NoEnginesRegistered: When there is no engine.
            EngineGone: When an engine of the view is no longer there.
            SerializationError: When the function or an argument cannot be pickled.
        """
        return self._everywhere(f, args, kwargs, self._targets, self.label)

    # --- map

    def map(
        self,
        f: Callable[..., Any],
        /,
        *sequences: Iterable[Any],
        block: bool | None = None,
        track: bool = False,
        return_exceptions: bool = False,
        label: str | None = None,
    ) -> Any:
        """Call `f` for each item, cut into one contiguous chunk per engine.

        Args:
            f: What to call.
            *sequences: One iterable for each argument of `f`; the shortest decides. Generators are
                read to their end first.
            block: Whether to wait for the list of values; None for the view's `block`.
            track: Kept for compatibility.
            return_exceptions: Give exceptions in place of the values of failed items.
            label: Stored in the metadata of each task.

        Returns:
            A list when blocking, else an `AsyncMapResult`.

        Raises:
            TypeError: Without a sequence, or with one that cannot be iterated.
            NoEnginesRegistered: When there is no engine.
        """
        result = self._map(f, sequences, self._targets, return_exceptions, label)
        return claim(result) if (self.block if block is None else block) else result

    def map_async(
        self,
        f: Callable[..., Any],
        /,
        *sequences: Iterable[Any],
        track: bool = False,
        return_exceptions: bool = False,
        label: str | None = None,
    ) -> AsyncMapResult:
        """`map` that returns at once."""
        return self._map(f, sequences, self._targets, return_exceptions, label)

    def map_sync(
        self,
        f: Callable[..., Any],
        /,
        *sequences: Iterable[Any],
        track: bool = False,
        return_exceptions: bool = False,
        label: str | None = None,
    ) -> Any:
        """`map` that waits for the list of values."""
        return claim(self._map(f, sequences, self._targets, return_exceptions, label))

    def imap(
        self,
        f: Callable[..., Any],
        /,
        *sequences: Iterable[Any],
        return_exceptions: bool = False,
        label: str | None = None,
    ) -> Iterator[Any]:
        """Iterate over the values of `map` as they become available, in order."""
        return iter(self._map(f, sequences, self._targets, return_exceptions, label))

    def _map(
        self,
        f: Callable[..., Any],
        sequences: tuple[Iterable[Any], ...],
        targets: Targets,
        return_exceptions: bool,
        label: str | None,
    ) -> AsyncMapResult:
        client = self.client
        client._check()
        core = client._core
        columns = chunks.columns(sequences)
        engines = resolve(core, targets)
        n = len(columns)
        label = self.label if label is None else label
        if n == 0:
            tasks, name = _oarlock.Tasks.join(()), pack_function(f)[2]
        else:
            func, body, name = pack_function(f)
            cuts = partition.bounds(n, min(n, len(engines)))
            payloads, failed = chunks.pack_chunks(
                [columns.cut(start, stop) for start, stop in cuts]
            )
            items = [stop - start for start, stop in cuts]
            used = engines[: len(cuts)]
            tasks = self._submit_with(
                func,
                body,
                lambda: core.submit_each(
                    func, _oarlock.CHUNK, used, payloads, items, failed, self._rules
                ),
                label,
            )
        about = About(client, name, engines, label=label, return_exceptions=return_exceptions)
        return AsyncMapResult(about, tasks)

    def _part_count(self, n: int, chunksize: int | None) -> int:
        return max(1, min(n, len(resolve(self.client._core, self._targets))))

    def _map_parts(
        self,
        f: Callable[..., Any],
        parts: list[tuple[Any, ...]],
        join: Callable[..., Any],
        **options: Any,
    ) -> AsyncMapResult:
        self.client._check()
        engines = resolve(self.client._core, self._targets)
        # An engine that left since the cut was made hands its part to another.
        engines = [engines[i % len(engines)] for i in range(len(parts))]
        tasks, name = self._each(f, parts, engines)
        keep = options.get("return_exceptions", False)
        about = About(self.client, name, engines, label=self.label, return_exceptions=keep)
        in_order = options.get("ordered", True)
        return AsyncMapResult(about, tasks, ordered=in_order, chunked=False, join_parts=join)

    def scatter(
        self,
        key: str,
        seq: Iterable[Any],
        dist: str = "b",
        flatten: bool = False,
        targets: Any = None,
        block: bool | None = None,
        track: bool | None = None,
    ) -> AsyncResult | None:
        """Cut `seq` and assign each engine one part, as `key`.

        Args:
            key: Name on the engines.
            seq: What to cut; engines beyond its length get an empty part.
            dist: ``'b'`` in blocks, ``'r'`` round robin.
            flatten: Assign the bare item where a part has just one.
            targets: Other engines than the view's.
            block: Whether to wait; None for the view's `block`.
            track: Kept for compatibility.

        Returns:
            None when blocking, else an `AsyncResult` of None for each engine.

        Raises:
            KeyError: For an unknown `dist`.
        """
        client = self.client
        client._check()
        partitioner = partition.partitioner(dist)
        whole = partition.sliceable(seq)
        aim = self._targeted(targets)
        engines = resolve(client._core, aim)
        parts = partitioner.split(whole, max(1, len(engines)))[: len(engines)]
        if flatten:
            parts = [part[0] if len(part) == 1 else part for part in parts]
        tasks, _ = self._each(namespace.push, [({key: part},) for part in parts], engines)
        about = About(client, "scatter", engines, single=isinstance(aim, int), label=self.label)
        result = AsyncResult(about, tasks)
        if self.block if block is None else block:
            claim(result)
            return None
        return result

    def gather(
        self, key: str, dist: str = "b", targets: Any = None, block: bool | None = None
    ) -> Any:
        """The inverse of `scatter`: fetch `key` from every engine and join the parts.

        Returns:
            An `AsyncMapResult`, or the joined value when blocking.

        Raises:
            KeyError: For an unknown `dist`.
        """
        client = self.client
        client._check()
        if not isinstance(key, str):
            raise TypeError(f"gather takes a name on the engines, not {type(key).__name__}")
        partitioner = partition.partitioner(dist)
        engines = resolve(client._core, self._targeted(targets))
        func, body, _ = pack_function(namespace.pull)
        parts = dumps(((key,), {}))
        tasks = self._submit_with(
            func,
            body,
            lambda: client._core.submit_direct(func, _oarlock.APPLY, engines, parts),
            self.label,
        )
        about = About(client, "gather", engines, label=self.label)
        result = AsyncMapResult(about, tasks, chunked=False, join_parts=partitioner.join)
        return claim(result) if (self.block if block is None else block) else result
