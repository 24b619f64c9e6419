"""`Control`: what a client can ask of the controller and do to engines.

These are requests, answered by the controller within `_TIMEOUT`, not tasks: they do not queue
behind work. Where a method takes `block`, it returns None when blocking, else a future of None.
"""

import signal
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final

from oarlock import _jobs, _oarlock, error
from oarlock._future import notice
from oarlock.views.targets import EngineGone, normalise, resolve

if TYPE_CHECKING:
    from oarlock.cluster import Cluster
    from oarlock.result import AsyncResult
    from oarlock.views.direct import DirectView

# Seconds the controller has to answer a request.
_TIMEOUT: Final = 10.0

# Seconds to wait for what became of tasks of other clients.
_ANSWER: Final = 0.2


class Control:
    """Base of `Client`; has no state of its own."""

    _core: _oarlock.Client
    _owns_core: bool
    _history_start: int
    block: bool
    cluster: "Cluster | None"

    if TYPE_CHECKING:
        session: str

        def _check(self) -> None: ...
        def close(self, linger: float | None = None) -> None: ...
        def direct_view(self, targets: Any = "all", **flags: Any) -> DirectView: ...
        def _result_of(self, jobs: Any) -> AsyncResult: ...

    # --- questions

    def queue_status(self, targets: Any = "all", verbose: bool = False) -> dict[Any, Any]:
        """How many tasks wait and where.

        Args:
            targets: ``'all'``, an engine id, or a list of ids.
            verbose: Must be false: the controller counts and does not list.

        Returns:
            ``{'unassigned': n, <id>: {'queue': n, 'tasks': n, 'completed': n}, ...}``, where
            ``queue`` counts direct tasks and ``tasks`` load-balanced ones that have not finished.
            For an engine id just its inner dict.

        Raises:
            NotImplementedError: When `verbose` is true.
            EngineGone: When an engine is not there.
        """
        if verbose:
            raise NotImplementedError(
                "queue_status gives numbers only; client.outstanding lists the msg_ids"
            )
        unassigned, engines = self._ask("queue_status")
        aim = normalise(targets)
        wanted = None if aim == "all" else resolve(self._core, aim)
        status: dict[Any, Any] = {
            engine: {"queue": queue, "tasks": tasks, "completed": completed}
            for engine, queue, tasks, completed in engines
            if wanted is None or engine in wanted
        }
        if isinstance(aim, int):
            return dict(status.get(aim, {"queue": 0, "tasks": 0, "completed": 0}))
        return {"unassigned": unassigned, **status}

    def engine_status(self, targets: Any = "all") -> dict[Any, Any]:
        """Whether engines are alive, and what keeps them busy.

        Args:
            targets: ``'all'``, an engine id, or a list of ids.

        Returns:
            ``{<id>: {'state': s, 'silent': t, 'busy': b, 'memory': m, 'memory_limit': l,
            'memory_warning': w, 'pid': p, 'host': h}, ...}``. The state is
            ``'alive'``, or ``'suspect'`` when the last sign of life is longer ago than the
            cluster's ``suspect_after``; ``silent`` is how long ago, and ``busy`` how long the
            present task has been running there, both in seconds. ``busy`` is None without a task.
            ``memory`` is what its process has in memory, in bytes, large arrays that it shares with
            others included; ``memory_limit`` is what it and others in its control group, or on the
            host, may have together. Both are None when nobody knows. ``memory_warning`` is whether
            the former reached 80 % of the latter and has not been below 70 % since; when that
            begins, who waits is also told by a warning of the logger ``oarlock``.
            For an engine id just its inner dict.

        Raises:
            EngineGone: When an engine is not there.

        Example:
            >>> import oarlock
            >>> with oarlock.Cluster(n=1) as rc:
            ...     status = rc.engine_status(0)
            ...     status["state"], status["busy"]
            ('alive', None)
        """
        aim = normalise(targets)
        wanted = None if aim == "all" else resolve(self._core, aim)
        engines, _ = self._ask("engine_status")
        known = {number: (pid, host) for number, _, pid, host in self._core.engines()}
        status = {}
        for number, silent, suspect, busy, (memory, limit, scarce) in engines:
            if wanted is None or number in wanted:
                pid, host = known.get(number, (None, None))
                state = "suspect" if suspect else "alive"
                status[number] = {
                    "state": state,
                    "silent": silent,
                    "busy": busy,
                    "memory": memory,
                    "memory_limit": limit,
                    "memory_warning": scarce,
                    "pid": pid,
                    "host": host,
                }
        if not isinstance(aim, int):
            return status
        if aim not in status:
            raise EngineGone(f"engine {aim} has just ended")
        return status[aim]

    def hub_history(self) -> list[str]:
        """The msg_ids of all clients' tasks that the controller knows, first submitted first."""
        return list(self._ask("history"))

    def result_status(self, msg_ids: Any, status_only: bool = True) -> dict[str, Any]:
        """Which of some tasks are done.

        Args:
            msg_ids: A msg_id, an index, an `AsyncResult`, or a list of these.
            status_only: Whether to leave the results out.

        Returns:
            ``{'status': 'ok', 'pending': [...], 'completed': [...]}``, and unless `status_only` the
            result of each completed task by its msg_id.

        Raises:
            UnknownTask: When nobody knows one of them; a KeyError.
            RemoteError: Unless `status_only`: what the one task asked for raised.
            CompositeError: Unless `status_only`: what several raised.
        """
        self._check()
        client: Any = self
        ids = _jobs.msg_ids(client, msg_ids)
        tasks = _jobs.lookup(client, ids)
        if not all(msg_id.startswith(self.session) for msg_id in ids):
            # What another client's tasks are is not known before the controller has answered.
            tasks.wait(_ANSWER)
        states = tasks.statuses()
        unknown = states.find(_oarlock.REFUSED)
        if unknown >= 0:
            raise error.UnknownTask(f"task {ids[unknown]}: {tasks.refusal(unknown)}")
        marked = list(zip(ids, (state != _oarlock.PENDING for state in states), strict=True))
        done = [msg_id for msg_id, is_done in marked if is_done]
        pending = [msg_id for msg_id, is_done in marked if not is_done]
        status: dict[str, Any] = {"status": "ok", "pending": pending, "completed": done}
        if not status_only and done:
            one = _jobs.is_one(msg_ids) and len(ids) == 1
            value = self._result_of(done[0] if one else done).get()
            status.update({done[0]: value} if one else zip(done, value, strict=True))
        return status

    # --- forgetting

    def purge_local_results(self, jobs: Any = (), targets: Any = ()) -> None:
        """Drop the client's records of finished tasks.

        Args:
            jobs: ``'all'``, or as for `get_result`.
            targets: Engine ids: all finished tasks that ran there.

        Raises:
            ValueError: When neither is given.
            RuntimeError: When one of `jobs` has not finished.
        """
        ids = self._to_purge(jobs, targets)
        self._core.purge_local(ids)

    def purge_hub_results(self, jobs: Any = (), targets: Any = ()) -> None:
        """Have the controller drop results it keeps.

        Args:
            jobs: ``'all'``, or as for `get_result`.
            targets: Engine ids: all finished tasks this client knows to have run there.

        Raises:
            ValueError: When neither is given.
            RuntimeError: When one of `jobs` has not finished.
        """
        ids = self._to_purge(jobs, targets)
        self._ask("purge", ids)

    def purge_results(self, jobs: Any = (), targets: Any = ()) -> None:
        """`purge_local_results` and `purge_hub_results`."""
        ids = self._to_purge(jobs, targets)
        self._ask("purge", ids)
        self._core.purge_local(ids)

    def purge_everything(self) -> None:
        """Drop all results here and at the controller, and begin a new history.

        Raises:
            RuntimeError: When a task has not finished.
        """
        self.purge_results("all")
        self._history_start = self._core.submitted_count()

    def _to_purge(self, jobs: Any, targets: Any) -> list[str] | None:
        """The msg_ids to drop; None for all."""
        self._check()
        client: Any = self
        everything = isinstance(jobs, str) and jobs == "all"
        no_targets = targets is None or (isinstance(targets, list | tuple) and not targets)
        if (
            not everything
            and no_targets
            and (jobs is None or (isinstance(jobs, list | tuple) and not jobs))
        ):
            raise ValueError("say what to purge: jobs (or 'all') or targets")
        outstanding = set(self._core.outstanding())
        ids = (
            list(outstanding) if everything else _jobs.msg_ids(client, () if jobs is None else jobs)
        )
        unfinished = [msg_id for msg_id in ids if msg_id in outstanding]
        if unfinished:
            raise RuntimeError(
                f"cannot purge {unfinished[0]!r}, which has not finished (nor have "
                f"{len(unfinished) - 1} others); nothing was purged\n\n"
                "hint: wait for it with client.wait(), or stop it with client.abort()"
            )
        if everything:
            return None
        if not no_targets:
            ids += self._finished_on(normalise(targets))
        return ids

    def _finished_on(self, aim: Any) -> Iterable[str]:
        """Known finished tasks that ran on these engines, which may be gone by now."""
        engines = {aim} if isinstance(aim, int) else aim
        for msg_id in self._core.known_ids():
            tasks = self._core.known(msg_id)
            if tasks is not None and tasks.ready() and (aim == "all" or tasks.engine(0) in engines):
                yield msg_id

    # --- stopping tasks

    def abort(
        self,
        jobs: Any = None,
        targets: Any = None,
        block: bool | None = None,
        force: bool | float = False,
    ) -> "Future[None] | None":
        """Ask that tasks never start, or are interrupted if they run.

        Args:
            jobs: As for `get_result`; None for all that is outstanding.
            targets: Only tasks given to these engines (or to none yet); None for all.
            block: Whether to return None instead of a future. The request is on its way either
                way; the results of the tasks say what became of them.
            force: Whether the engine of a running task that takes no notice is ended: True for
                after 2 s, or a number of seconds.

        Raises:
            TypeError: For jobs of another kind.
        """
        self._check()
        client: Any = self
        ids = self._core.outstanding() if jobs is None else _jobs.msg_ids(client, jobs)
        tasks = _jobs.known(client, ids)
        if targets is not None and (aim := normalise(targets)) != "all":
            engines: Any = {aim} if isinstance(aim, int) else aim
            tasks = tasks.pick(
                [i for i, e in enumerate(tasks.engines()) if e is None or e in engines]
            )
        return self._do(lambda: self._core.cancel(tasks, notice(force)), block)

    # --- engines

    def clear(self, targets: Any = None, block: bool | None = None) -> "AsyncResult | None":
        """Empty the namespaces of engines, in order with the tasks they have.

        Args:
            targets: Engine ids; None for all.
            block: Whether to wait; None for the client's `block`.

        Returns:
            None when blocking, else an `AsyncResult`.
        """
        view = self.direct_view("all" if targets is None else targets)
        result: AsyncResult | None = view.clear(block=self.block if block is None else block)
        return result

    def send_signal(
        self, sig: int | str, targets: Any = None, block: bool | None = None
    ) -> "Future[None] | None":
        """Send a signal to engine processes, busy or not.

        One on another host sends it to itself, so there a process that was stopped by a signal
        cannot be told to go on.

        Args:
            sig: Number or name. SIGINT makes a running task fail with KeyboardInterrupt.
            targets: Engine ids; None for all.
            block: Whether to raise failures here; None for the client's `block`.

        Raises:
            AttributeError: For a name that is no signal here.
            EngineGone: When an engine is not there.
        """
        self._check()
        if isinstance(sig, str) and not isinstance(getattr(signal, sig, None), int):
            raise AttributeError(f"no signal is named {sig!r} on this host")  # noqa: TRY004
        number = int(getattr(signal, sig)) if isinstance(sig, str) else int(sig)
        engines = resolve(self._core, normalise(targets))
        return self._do(lambda: self._ask("signal", (engines, number)), block)

    def shutdown(
        self,
        targets: Any = "all",
        restart: bool = False,
        hub: bool = False,
        block: bool | None = None,
    ) -> "Future[None] | None":
        """Ask engines to end; a busy engine finishes its task first.

        Args:
            targets: ``'all'``, an engine id, or a list of ids.
            restart: Whether another process is started in place of each, which becomes an engine
                with a new id.
            hub: Also end the controller, and close this client. Always blocks.
            block: Whether to wait until the engines are gone; None for the client's `block`.

        Raises:
            EngineGone: When an engine is not there.
            RuntimeError: When one is to be restarted that this cluster did not start, for instance
                one on another host; then none is.
        """
        self._check()
        if hub:
            self._stop_controller()
            return None
        aim = normalise(targets)
        # To end all engines of an empty cluster is no mistake.
        engines = self._core.engine_ids() if aim == "all" else resolve(self._core, aim)

        def end() -> None:
            if engines:
                self._ask("restart" if restart else "shutdown", engines)

        blocking = self.block if block is None else block
        future = self._do(end, blocking)
        if blocking:
            self._wait_gone(set(engines))
        return future

    def _wait_gone(self, engines: set[int]) -> None:
        core = self._core
        while True:
            version = core.engines_version()
            if engines.isdisjoint(core.engine_ids()):
                return
            core.wait_engines_change(version)

    def _stop_controller(self) -> None:
        if self.cluster is not None:
            self.cluster.stop_cluster_sync()
        elif not self._core.embedded:
            self._ask("stop")
        self.close()

    # --- requests

    def _ask(self, kind: str, argument: Any = None) -> Any:
        self._check()
        try:
            return self._core.request(kind, argument, _TIMEOUT)
        except TimeoutError as timeout:
            raise error.TimeoutError(
                f"the controller did not answer {kind!r} within {_TIMEOUT:g} s"
            ) from timeout

    def _do(self, action: Callable[[], Any], block: bool | None) -> "Future[None] | None":
        """Act, and tell of it by a return or a future."""
        if self.block if block is None else block:
            action()
            return None
        future: Future[None] = Future()
        try:
            action()
        except Exception as failure:
            future.set_exception(failure)
        else:
            future.set_result(None)
        return future
