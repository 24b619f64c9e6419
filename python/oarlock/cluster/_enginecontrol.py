"""`EngineControl`: what is done to the engines of a cluster that runs: signals, ends, restarts."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from ._twins import call, twin

if TYPE_CHECKING:
    from oarlock import _oarlock

    from ._engineset import EngineSet


class EngineControl:
    """Base of `Cluster`; has no state of its own."""

    engine_timeout: float
    _engines: dict[str, EngineSet]

    if TYPE_CHECKING:

        def _running(self) -> _oarlock.Client: ...

    async def signal_engines(self, signum: int, engine_set_id: str | None = None) -> None:
        """Send a signal to the processes of a set of engines.

        Args:
            signum: Number of the signal, as in `signal.Signals`.
            engine_set_id: The id that `start_engines` gave; None for all engines.

        Raises:
            KeyError: No set has this id.
            ValueError: No signal has this number.
        """
        number = signal.Signals(signum)
        for engine_set in self._sets(engine_set_id):
            await call(engine_set.signal, number)

    async def stop_engines(self, engine_set_id: str | None = None) -> None:
        """End a set of engines: asked first, killed when they do not go.

        Args:
            engine_set_id: The id that `start_engines` gave; None for all engines.

        Raises:
            KeyError: No set has this id.
        """
        for engine_set in self._sets(engine_set_id):
            await call(engine_set.stop)
            self._engines.pop(engine_set.id, None)

    async def signal_engine(self, signum: int, engine_id: int) -> None:
        """Send a signal to the process of one engine.

        Args:
            signum: Number of the signal, as in `signal.Signals`.
            engine_id: Its id, as in `Client.ids`.

        Raises:
            EngineGone: No engine of this cluster has this id.
            ValueError: No signal has this number.
        """
        number = signal.Signals(signum)
        self._set_of(engine_id)
        await call(self._running().request, "signal", ([engine_id], number))

    async def stop_engine(self, engine_id: int) -> None:
        """End one engine: asked first, killed when it does not go. Nobody replaces it.

        Args:
            engine_id: Its id, as in `Client.ids`.

        Raises:
            EngineGone: No engine of this cluster has this id.
        """
        engine_set = self._set_of(engine_id)
        await call(engine_set.end, engine_id)

    async def restart_engine(self, engine_id: int) -> int:
        """End one engine as `stop_engine` does, and start another in its place.

        Args:
            engine_id: Its id, as in `Client.ids`.

        Returns:
            The id of the new engine, when it is ready.

        Raises:
            EngineGone: No engine of this cluster has this id.
            EngineError: The new one did not become ready; says why.
            TimeoutError: It took longer than `engine_timeout`.

        Example:
            >>> import oarlock
            >>> with oarlock.Cluster(n=2) as rc:
            ...     new = rc.cluster.restart_engine_sync(0)
            ...     new, rc.ids
            (2, [1, 2])
        """
        engine_set = self._set_of(engine_id)
        (new,) = await call(engine_set.restart, [engine_id], self.engine_timeout)
        return new

    async def restart_engines(self, engine_set_id: str | None = None) -> None:
        """End the engines of a set and start others in their places.

        The set keeps its id, the engines have new ones; returns when they are ready.

        Args:
            engine_set_id: The id that `start_engines` gave; None for all engines.

        Raises:
            KeyError: No set has this id.
            EngineError: One did not become ready; says why.
            TimeoutError: They took longer than `engine_timeout`.
        """
        for engine_set in self._sets(engine_set_id):
            await call(engine_set.restart, engine_set.ids(), self.engine_timeout)

    signal_engines_sync = twin(signal_engines)
    stop_engines_sync = twin(stop_engines)
    signal_engine_sync = twin(signal_engine)
    stop_engine_sync = twin(stop_engine)
    restart_engine_sync = twin(restart_engine)
    restart_engines_sync = twin(restart_engines)

    # --- within

    def _sets(self, engine_set_id: str | None) -> list[EngineSet]:
        if engine_set_id is None:
            return list(self._engines.values())
        if engine_set_id not in self._engines:
            raise KeyError(
                f"no engine set {engine_set_id!r} in this cluster; there are {list(self._engines)}"
            )
        return [self._engines[engine_set_id]]

    def _set_of(self, engine_id: int) -> EngineSet:
        """The set of an engine."""
        core = self._running()
        for engine_set in self._engines.values():
            if engine_id in engine_set.ids():
                return engine_set
        from oarlock.views.targets import EngineGone

        raise EngineGone(f"this cluster has no engine {engine_id!r}; there are {core.engine_ids()}")
