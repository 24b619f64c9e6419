"""`Client`: one session with a cluster.

A client only holds on to its core session and hands out views; records and results live in the core
and are looked up there at the moment of the question. All methods may be used from several threads.

Whether the I/O runs, and when, never depends on what the user calls: ``received`` is stamped by the
core's own thread on arrival, so `spin` has nothing to do.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from oarlock import _forks, _jobs, _oarlock, error
from oarlock._about import About
from oarlock._books import KnownMetadata, KnownResults, MsgIds
from oarlock._cache import Link, link_of
from oarlock._control import Control
from oarlock._hints import engines
from oarlock._parts import join
from oarlock._place import place_of
from oarlock._waiting import Waiting
from oarlock.result import AsyncResult
from oarlock.views.balanced import LoadBalancedView
from oarlock.views.direct import DirectView
from oarlock.views.executor import ViewExecutor

if TYPE_CHECKING:
    from os import PathLike

    from oarlock._dispatch import Dispatcher
    from oarlock.cluster import Cluster

_CLOSED: Final = "closed"

# Seconds tasks wait while no engine is there, unless the controller is told otherwise.
ENGINES_TIMEOUT: Final = 60.0


class Client(Control, Waiting):
    """Your session with a cluster: the engines there are, views on them, and the tasks you sent.

    Attributes:
        block: Whether views made from now on, and this client's own methods, wait. False at first.
        cluster: The `Cluster` this client keeps alive, or None.

    Example:
        >>> other = oarlock.Client(directory=rc.cluster.directory)
        >>> other.ids
        [0, 1]
        >>> other[:].map_sync(abs, [-1, 2])
        [1, 2]
        >>> other.close()
    """

    def __init__(
        self,
        connection_info: "str | PathLike[str] | Mapping[str, Any] | None" = None,
        *,
        cluster_id: str = "",
        timeout: float = 10,
        cluster: "Cluster | None" = None,
        directory: "str | PathLike[str] | None" = None,
        lease: float | None = 600.0,
        reconnect: float | None = None,
        engines_timeout: float | None = ENGINES_TIMEOUT,
    ) -> None:
        """Connect to a cluster that runs already.

        Args:
            connection_info: Where it runs: its directory, a file in that directory, a connection
                file of a cluster that listens for other hosts (``oarlock start --listen``), or a
                dict with the key ``directory``. By default the cluster named `cluster_id` is looked
                for.
            cluster_id: Name given to ``oarlock start``; empty for the default cluster.
            timeout: Seconds the controller has to answer.
            cluster: An object to keep alive as long as this client.
            directory: The cluster's directory, by another way than `connection_info`.
            lease: Seconds that unfinished tasks run on when this client is gone, closed or killed;
                then they are cancelled. 0 for not at all, None for as long as they take. Other
                clients get their results by msg_id; a task for which one waits is not cancelled. A
                client whose connection broke goes on if it is back within that time.
            reconnect: Seconds to look for the controller of a standalone cluster when the
                connection broke, or, when it was killed, for another that takes its place
                (``oarlock start`` again); then everything ends with `ControllerLost`. 0 for not at
                all. None for as long as its engines wait for it, and for ten minutes while the
                network does not lead to it.
            engines_timeout: The attribute of this name.

        Raises:
            FileNotFoundError: When no such cluster runs; says how to start one. At once.
            ConnectionError: When nobody answers there, or not as expected; when the connection file
                is open to other users, or not (any more) that of the cluster that answers.
            ValueError: For a URL, or a negative time.
        """
        where = place_of(connection_info if directory is None else directory, cluster_id)
        self._adopt(
            _oarlock.Client.connect(where, timeout, lease, reconnect), cluster, owns_core=True
        )
        if engines_timeout != ENGINES_TIMEOUT:
            try:
                self.engines_timeout = engines_timeout
            except BaseException:
                self.close()
                raise

    @classmethod
    def _from_core(cls, core: _oarlock.Client, cluster: "Cluster | None") -> Self:
        """A client on a core that exists. A cluster's core is closed by the cluster."""
        client = cls.__new__(cls)
        client._adopt(core, cluster, owns_core=cluster is None)
        return client

    def _adopt(self, core: _oarlock.Client, cluster: "Cluster | None", *, owns_core: bool) -> None:
        self._gone: str | None = None
        self._core = core
        self._owns_core = owns_core
        self._link: Link = link_of(core)
        self._history_start = 0
        self.session: str = core.session
        self.cluster = cluster
        self.block = False
        self._engines_timeout: float | None = ENGINES_TIMEOUT
        _forks.remember(self)

    # --- engines

    @property
    def ids(self) -> list[int]:
        """The ids of the engines, sorted; kept current, no round trip.

        Empty once this client was closed or its controller is gone.
        """
        return [] if self._is_over() else self._core.engine_ids()

    def __len__(self) -> int:
        """Number of engines."""
        return len(self.ids)

    def __bool__(self) -> bool:
        """Always true: a client without engines is still a client."""
        return True

    def __iter__(self) -> Iterator[DirectView]:
        """Yield a view of each engine alone, by id."""
        return (self.direct_view(engine) for engine in self.ids)

    def __contains__(self, engine: object) -> bool:
        """Whether there is an engine of this id."""
        return engine in self.ids

    def __getitem__(self, key: Any) -> DirectView:
        """A direct view of some engines.

        Args:
            key: An engine id (negative: counted from the end of `ids`), a slice of `ids`, or a
                list, tuple or range of ids. Evaluated once, now.

        Raises:
            NoEnginesRegistered: When there is no engine at all.
            IndexError: When an int names no engine.
            KeyError: When one of several ids names no engine.
            TypeError: For any other key.
        """
        self._check()
        # Not `self.ids`: without a controller, what the view is used for says what is wrong.
        ids = self._core.engine_ids()
        if isinstance(key, bool) or not isinstance(key, int | slice | tuple | list | range):
            if not hasattr(key, "__index__") or isinstance(key, bool):
                raise TypeError(
                    f"engines are chosen by an int, a slice or a list of ints, not {key!r}"
                )
            key = key.__index__()
        if not ids:
            raise error.NoEnginesRegistered
        if isinstance(key, slice):
            return self.direct_view(ids[key])
        if isinstance(key, int):
            if key < 0 and -key <= len(ids):
                key = ids[key]
            if key not in ids:
                raise IndexError(f"no engine {key}; there are {ids}")
            return self.direct_view(key)
        missing = [engine for engine in key if engine not in ids]
        if missing:
            raise KeyError(f"no engine {missing[0]!r}; there are {ids}")
        return self.direct_view(list(key))

    @property
    def away(self) -> bool:
        """Whether the controller was killed or cannot be reached; see `reconnect`.

        Tasks can be submitted and cancelled meanwhile; it, or the next one, is told later.
        """
        return self._core.away

    @property
    def engines_timeout(self) -> float | None:
        """Seconds that load-balanced tasks of this client wait while no engine is there at all.

        When its oldest one has waited so long, all of them end with `NoEnginesRegistered`, which
        says how the last engine ended. None lets them wait for ever. May be set at any time, also
        for tasks that wait already. 60 unless `Client` or `Cluster` was told otherwise.

        Raises:
            ValueError: Set to a negative number.

        Example:
            >>> with oarlock.Cluster(n=0, engines_timeout=0.1) as empty:
            ...     empty.load_balanced_view().apply_sync(abs, -1)
            Traceback (most recent call last):
            oarlock.error.NoEnginesRegistered: task ..._0 was not run: no engine ...
        """
        # An embedded core outlives its client objects, and its cluster knows what it was told.
        return self._keeper._engines_timeout

    @engines_timeout.setter
    def engines_timeout(self, seconds: float | None) -> None:
        self._ask("engines_timeout", seconds)
        self._keeper._engines_timeout = seconds

    @property
    def _keeper(self) -> "Client | Cluster":
        return self if self._owns_core or self.cluster is None else self.cluster

    # --- views

    def direct_view(self, targets: Any = "all", **flags: Any) -> DirectView:
        """A view that runs each call on all of `targets`.

        Args:
            targets: ``'all'`` for the engines there are at each call, an id, or a list of ids.
            **flags: As for `DirectView.set_flags`.
        """
        self._check()
        return DirectView(self, targets, **flags)

    def load_balanced_view(self, targets: Any = None, **flags: Any) -> LoadBalancedView:
        """A view that runs each call on one engine, whichever is free.

        Args:
            targets: None or ``'all'`` for any engine, an id, or a list of ids to choose from.
            **flags: As for `LoadBalancedView.set_flags`.
        """
        self._check()
        return LoadBalancedView(self, targets, **flags)

    def executor(self, targets: Any = None) -> ViewExecutor:
        """A `concurrent.futures.Executor` on a load-balanced view of `targets`."""
        return self.load_balanced_view(targets).executor

    # --- books

    @property
    def history(self) -> MsgIds:
        """The msg_ids of all tasks submitted through this session, in order."""
        start = min(self._history_start, stop := self._core.submitted_count())
        return MsgIds(self.session, ((start, stop),))

    @property
    def outstanding(self) -> set[str]:
        """The msg_ids of the tasks that have not finished."""
        return set(self._core.outstanding())

    @property
    def metadata(self) -> KnownMetadata:
        """The metadata of the tasks the client has records of, by msg_id; live, read-only."""
        return KnownMetadata(self)

    @property
    def results(self) -> KnownResults:
        """The results nobody has claimed yet, by msg_id; read-only."""
        return KnownResults(self)

    def get_result(
        self, indices_or_msg_ids: Any = None, block: bool | None = None, owner: bool = True
    ) -> AsyncResult:
        """The result of tasks again, also of tasks another client submitted.

        Args:
            indices_or_msg_ids: An index into `history`, a msg_id, an `AsyncResult`, or an iterable
                of these; None for the last task submitted. Several give a list-like result.
            block: Whether to wait until it is done; None for the client's `block`.
            owner: Kept for compatibility; a result keeps its own values.

        Returns:
            The result. A task nobody knows gives one that fails and says so.

        Raises:
            TypeError: For jobs of another kind.
            IndexError: For an index beyond the history.
        """
        self._check()
        jobs = -1 if indices_or_msg_ids is None else indices_or_msg_ids
        result = self._result_of(jobs if _jobs.is_one(jobs) else list(_jobs.several(jobs)))
        if self.block if block is None else block:
            result.wait()
        return result

    def _result_of(self, jobs: Any) -> AsyncResult:
        # A result that was claimed has its values itself and nowhere else.
        if isinstance(jobs, AsyncResult):
            return jobs
        if isinstance(jobs, list) and jobs and all(isinstance(job, AsyncResult) for job in jobs):
            return join(jobs, listed=True)
        tasks = _jobs.lookup(self, _jobs.msg_ids(self, jobs))
        return AsyncResult(About(self, "get_result", single=_jobs.is_one(jobs)), tasks)

    # --- life

    @property
    def _dispatch(self) -> "Dispatcher":
        """Who runs callbacks of results."""
        return self._link.dispatcher

    def _is_over(self) -> bool:
        """Whether this client was closed, or its controller is gone."""
        return self._gone == _CLOSED or (self._gone is None and self._core.closed)

    def _check(self) -> None:
        """Raise unless this client can be used here and now."""
        if self._gone is None:
            return
        if self._gone == _forks.FORKED:
            raise error.ForkedClient(
                f"this process (pid {os.getpid()}) was forked from the one that made this client, "
                "which cannot be used here; the parent goes on\n\n"
                "hint: make a new oarlock.Client() in the child, or use the result in the parent"
            )
        raise error.ClosedClient("this client was closed")

    def close(self, linger: float | None = None) -> None:
        """End this session. Idempotent.

        The engines of a `Cluster` go on until the cluster is stopped.

        Args:
            linger: Kept for compatibility; everything queued is sent, which takes at most half a
                second longer than the controller needs to take it.
        """
        if self._gone is not None:
            return
        self._gone = _CLOSED
        if self._owns_core:
            self._core.close()

    def __enter__(self) -> Self:
        """The client itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the client."""
        self.close()

    def __del__(self) -> None:
        """Close quietly; at interpreter exit there may be nothing left to close with."""
        with contextlib.suppress(Exception):
            self.close(0)

    def __repr__(self) -> str:
        """The state and the number of engines."""
        if self._gone is not None:
            return f"<oarlock.Client {self._gone}>"
        if self._is_over():
            return f"<oarlock.Client {_CLOSED}>"
        return f"<oarlock.Client {self.session[:8]}: {engines(len(self))}>"
