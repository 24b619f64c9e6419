"""`Cluster`: engines on this host under a controller inside this process.

Ownership: a `Cluster` owns the core session that embeds its controller, and the directory of its
sockets. Its client refers to the cluster, never the other way round (only weakly), so that the
cluster lives as long as anybody can use it and ends when nobody can, at the latest with the
process. `Ending` is the one place that ends it.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

from oarlock import _oarlock

from . import launch, places
from ._ending import Ending
from ._enginecontrol import EngineControl
from ._engineset import EngineSet
from ._readiness import wait_ready
from ._twins import call, twin

if TYPE_CHECKING:
    from oarlock.client import Client


_CLIENT_HINT = (
    "hint: engines are reached through a client: `with oarlock.Cluster(n=2) as rc:`, or "
    "rc = cluster.start_and_connect_sync()"
)


class Cluster(EngineControl):
    """Engines on this host, with the controller embedded in this process.

    As a context manager it starts everything, waits until the engines are ready, yields a
    connected `oarlock.Client` and leaves nothing behind. Every coroutine method has a blocking
    twin with the suffix ``_sync``, which also works while an event loop runs.

    Args:
        n: How many engines; None is one per CPU this process may use.
        cluster_id: A name under which other processes of this user find the cluster, with
            ``oarlock.Client(cluster_id=...)``; empty for one that only this process knows.
        env: Environment variables for the engines, added to this process's own.
        directory: Where to make the private directory of the sockets, which is removed at the
            end; by default the user's runtime directory or the temporary one.
        engine_timeout: Seconds the engines may take to become ready.
        shutdown_atexit: Whether to say goodbye when the interpreter exits. The engines end with
            this process in any case.
        restart: Whether an engine that ended by itself or was killed is replaced by a new one with
            a new id: at once, and after growing pauses (up to 10 s) when it happens again and
            again. One that `force` ended because of its task is replaced in any case.
        suspect_after: Seconds without a sign of life after which `Client.engine_status` shows an
            engine as suspect. One that is only busy, in C code too, gives signs of life.
        lost_after: Seconds after which it is lost, and its tasks with it. If it goes on later
            (it was stopped), it comes back under a new id, unless `restart` has replaced it.
        engines_timeout: Seconds that load-balanced tasks wait while no engine is there; None for
            ever. See `Client.engines_timeout`.

    Raises:
        ValueError: `n` or a time is negative, or `cluster_id` cannot be the name of a directory.

    Example:
        >>> import oarlock
        >>> with oarlock.Cluster(n=2) as rc:
        ...     rc[:].map_sync(abs, [-1, -2])
        [1, 2]
    """

    def __init__(
        self,
        n: int | None = None,
        *,
        cluster_id: str = "",
        env: Mapping[str, str] | None = None,
        directory: str | os.PathLike[str] | None = None,
        engine_timeout: float = 60.0,
        shutdown_atexit: bool = True,
        restart: bool = False,
        suspect_after: float = 3.0,
        lost_after: float = 10.0,
        engines_timeout: float | None = 60.0,
    ) -> None:
        launch.engine_count(n)
        if cluster_id:
            places.name_of(cluster_id)
        if cluster_id and directory is not None:
            raise ValueError(
                "a cluster with a cluster_id lives where others look for it; give no directory"
            )
        self.n = n
        self.cluster_id = cluster_id
        self.env = dict(env or {})
        self.engine_timeout = engine_timeout
        self.shutdown_atexit = shutdown_atexit
        self._care = launch.Care(restart, suspect_after, lost_after)
        if engines_timeout is not None and not engines_timeout >= 0:
            raise ValueError(
                f"engines_timeout is a number of seconds or None, not {engines_timeout!r}"
            )
        self._engines_timeout = engines_timeout
        self._directory = None if directory is None else Path(directory).absolute()
        self._core: _oarlock.Client | None = None
        self._end: weakref.finalize[..., Cluster] | None = None
        self._client: weakref.ref[Client] | None = None
        self._engines: dict[str, EngineSet] = {}

    # --- what there is

    @property
    def controller(self) -> _oarlock.Client | None:
        """The session that embeds the controller; None when it does not run."""
        return self._core if self._core is not None and not self._core.closed else None

    @property
    def directory(self) -> str | None:
        """Where the sockets and logs are; None when it does not run."""
        core = self.controller
        return None if core is None else os.fspath(core.directory)

    @property
    def engines(self) -> dict[str, EngineSet]:
        """The sets of engines that were started, by set id."""
        return dict(self._engines)

    @property
    def engine_set(self) -> EngineSet | None:
        """The set that was started first, if any."""
        return next(iter(self._engines.values()), None)

    def __repr__(self) -> str:
        name = f"cluster_id={self.cluster_id!r}, " if self.cluster_id else ""
        state = "running" if self.controller is not None else "stopped"
        return f"<Cluster({name}controller=<{state}>, engine_sets={list(self._engines)})>"

    if not TYPE_CHECKING:  # or every name would be an attribute to a type checker

        def __getattr__(self, name: str) -> NoReturn:
            """Point those who take the cluster for its client to the client."""
            text = f"{type(self).__name__!r} object has no attribute {name!r}"
            if not name.startswith("_"):
                from oarlock.client import Client

                if hasattr(Client, name):
                    text += f", a client of it has\n\n{_CLIENT_HINT}"
            raise AttributeError(text, name=name, obj=self)

    def __getitem__(self, key: object) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} has no engines to choose from\n\n{_CLIENT_HINT}")

    # --- start

    async def start_controller(self) -> None:
        """Start the controller alone.

        Raises:
            RuntimeError: It already runs.
            ClusterRunningError: Another cluster with this id runs.
        """
        if self.controller is not None:
            raise RuntimeError(f"the controller of {self!r} already runs")
        await self.stop_controller()
        ending = self._make_ending()
        try:
            care = self._care
            patience = (care.suspect_after, care.lost_after)
            core = await call(_oarlock.Client.embed, ending.directory, care.restart, patience)
        except BaseException:
            ending()
            raise
        ending.core = core
        if self._engines_timeout != 60.0:
            await call(core.request, "engines_timeout", self._engines_timeout)
        self._core = core
        self._end = weakref.finalize(self, ending)
        self._end.atexit = self.shutdown_atexit

    async def start_engines(self, n: int | None = None) -> str:
        """Start engine processes and return at once; `start_and_connect` waits for them.

        Args:
            n: How many; None is the cluster's own `n`.

        Returns:
            The id of the new set, for `stop_engines` and `signal_engines`.

        Raises:
            RuntimeError: The controller does not run.
        """
        core = self._running()
        count = launch.engine_count(self.n if n is None else n)
        directory = os.fspath(core.directory)
        logs = Path(directory, "log")
        places.make_private(logs)
        command = launch.engine_command(directory)
        environment = launch.engine_environment(self.env)
        seats = await call(core.spawn, command, count, environment, str(logs))
        engine_set = EngineSet(core, seats)
        self._engines[engine_set.id] = engine_set
        return engine_set.id

    async def start_cluster(self, n: int | None = None) -> Self:
        """Start the controller and `n` engines (None: the cluster's own `n`); returns itself."""
        await self.start_controller()
        async with self._stop_on_error():
            await self.start_engines(n)
        return self

    async def wait_for_engines(self, timeout: float | None = None) -> None:
        """Wait until every engine that was started is ready.

        Args:
            timeout: Seconds; None is the cluster's `engine_timeout`.

        Raises:
            EngineError: An engine died before it was ready; says why, at once.
            TimeoutError: They took longer.
        """
        limit = self.engine_timeout if timeout is None else timeout
        await wait_ready(self._running(), list(self._engines.values()), limit)

    async def connect_client(self, /, **options: Any) -> Client:
        """A client of this cluster; it keeps the cluster alive.

        Args:
            **options: Keyword arguments of `oarlock.Client`, for a further session of its own.

        Raises:
            RuntimeError: The controller does not run.
        """
        from oarlock.client import Client

        core = self._running()
        known = self._client() if self._client is not None else None
        if (known is None or known._gone is not None) and not options:
            client = Client._from_core(core, self)
            self._client = weakref.ref(client)
            return client
        options.setdefault("engines_timeout", self._engines_timeout)
        return await call(Client, directory=self.directory, cluster=self, **options)

    async def start_and_connect(self, n: int | None = None) -> Client:
        """Start the cluster, wait until its engines are ready, and connect.

        Args:
            n: How many engines; None is the cluster's own `n`.

        Raises:
            EngineError: An engine died before it was ready; nothing is left running.
            TimeoutError: They took longer than `engine_timeout`; nothing is left running.
        """
        await self.start_cluster(n)
        async with self._stop_on_error():
            # The engines start meanwhile: what a client needs takes as long to load as they do.
            import_module("oarlock.client")
            await self.wait_for_engines()
            return await self.connect_client()

    # --- stop

    async def stop_controller(self) -> None:
        """End the controller, and with it engines that still run. Idempotent."""
        if self._end is not None:
            await call(self._end)
        self._forget()

    async def stop_cluster(self) -> None:
        """End everything and remove the cluster's directory. Idempotent."""
        await self.stop_controller()

    start_controller_sync = twin(start_controller)
    start_engines_sync = twin(start_engines)
    start_cluster_sync = twin(start_cluster)
    wait_for_engines_sync = twin(wait_for_engines)
    connect_client_sync = twin(connect_client)
    start_and_connect_sync = twin(start_and_connect)
    stop_controller_sync = twin(stop_controller)
    stop_cluster_sync = twin(stop_cluster)

    # --- context managers

    def __enter__(self) -> Client:
        return self.start_and_connect_sync()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close_client()
        self.stop_cluster_sync()

    async def __aenter__(self) -> Client:
        return await self.start_and_connect()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await call(self._close_client)
        await self.stop_cluster()

    # --- within

    def _running(self) -> _oarlock.Client:
        core = self.controller
        if core is None:
            raise RuntimeError(
                f"{self!r} does not run\n\nhint: call start_cluster_sync(), "
                "or use `with oarlock.Cluster(n=4) as rc:`"
            )
        return core

    def _make_ending(self) -> Ending:
        """Claim or make the directory, with the duty to undo it."""
        if self.cluster_id:
            from . import registry

            count = launch.engine_count(self.n)
            claim = registry.claim(self.cluster_id, engines=count, embedded=True)
            return Ending(claim.directory, claim.release)
        places.sweep()
        directory = places.make_temporary(self._directory)
        return Ending(str(directory), places.remover(directory))

    @asynccontextmanager
    async def _stop_on_error(self) -> AsyncIterator[None]:
        """End everything when the body fails or is interrupted."""
        try:
            yield
        except BaseException:
            await self.stop_controller()
            raise

    def _close_client(self) -> None:
        client = self._client() if self._client is not None else None
        if client is not None:
            client.close()

    def _forget(self) -> None:
        self._core = None
        self._end = None
        self._client = None
        self._engines.clear()
