"""Clusters that run alone: the actions behind ``oarlock start``, ``stop`` and ``status``.

The process that runs `serve` is the controller: it holds the claim on the cluster's directory and
is the parent of the engines, so ending it ends everything.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TextIO

from oarlock import _oarlock, error
from oarlock._hints import engines

from . import launch, places, registry

# Seconds to wait: for an answer, for a polite end, for the end of a killed process.
_ANSWER = 2.0
_POLITE = 10.0
_KILLED = 5.0
# Exit code of a start that found a cluster of this id running.
ALREADY_RUNS = 10
# Between two looks at a starting or ending process, and how long one look waits for engines.
_LOOK = 0.05
_JOINING = 0.2


def serve(
    cluster_id: str,
    n: int,
    ready: Callable[[registry.ClusterRecord], None],
    log_file: str | None = None,
    care: launch.Care | None = None,
    listen: launch.Listen | None = None,
) -> None:
    """Run a cluster in this process until it is stopped by a client, a signal or Ctrl-C.

    Args:
        cluster_id: Its id; empty for the default cluster.
        n: How many engines.
        ready: Called once, in another thread, when all engines are ready.
        log_file: Where the output of this process goes; moved into the cluster's directory.
        care: What is done about engines that end or fall silent; None for what is usual.
        listen: Where peers are let in over a network; None for nowhere.

    Raises:
        ClusterRunningError: One with this id already runs.
        EngineError: An engine ended before all were ready; nothing is left running.
        OSError: The store cannot be opened: it is in use, open to others, or of another version. Or
            at the end: not everything could be written there, and what not.
    """
    unwritten: list[str] = []
    care = launch.Care() if care is None else care
    at = "" if listen is None else listen.at
    claim = registry.claim(cluster_id, engines=n, store=care.store, listen=at)
    start = _Start(claim.record, ready)
    try:
        logs = claim.record.log_directory
        places.make_private(Path(logs))
        if log_file is not None:
            os.replace(log_file, os.path.join(logs, "controller.log"))
        signal.signal(signal.SIGTERM, _interrupt)
        start.watch()
        command = launch.engine_command(claim.directory)
        environment = launch.engine_environment()
        patience = (care.suspect_after, care.lost_after)
        store = None if care.store is None else (care.store, care.store_days)
        gate = None if listen is None else (listen.at, claim.record.cluster_id, listen.files)
        with contextlib.suppress(KeyboardInterrupt):
            _oarlock.serve(
                claim.directory,
                command,
                n,
                environment,
                logs,
                restart=care.restart,
                patience=patience,
                lease=care.lease,
                store=store,
                listen=gate,
                last_words=unwritten,
            )
    except OSError:
        claim.give_up()
        raise
    finally:
        start.ended.set()
        claim.release()
    if start.failure is not None:
        raise error.EngineError(start.failure)
    if unwritten:
        raise OSError(f"store {care.store}: {unwritten[0]}")


def detach(
    cluster_id: str,
    n: int,
    timeout: float,
    care: launch.Care | None = None,
    listen: launch.Listen | None = None,
) -> registry.ClusterRecord:
    """Run a cluster in a process of its own session; returns when its engines are ready.

    Args:
        cluster_id: Its id; empty for the default cluster.
        n: How many engines.
        timeout: Seconds they may take.
        care: As for `serve`.
        listen: As for `serve`.

    Raises:
        ClusterRunningError: One with this id already runs.
        EngineError: The process ended before the engines were ready; shows what it wrote.
        TimeoutError: The engines took longer; the cluster was stopped.
    """
    name = places.name_of(cluster_id)
    handle, log_file = tempfile.mkstemp(prefix="start-", suffix=".log", dir=places.base())
    with open(handle, "w+", errors="replace") as log:
        command = [sys.executable, "-m", "oarlock", "start", "-n", str(n)]
        command += ["--cluster-id", name, "--log-file", log_file]
        if care is not None:
            command += care.options()
        if listen is not None:
            command += listen.options()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        try:
            return _wait_ready(process, name, n, timeout, log_file)
        except _StartFailed:
            log.seek(0)
            written = log.read().strip()
            if process.returncode == ALREADY_RUNS:
                raise registry.ClusterRunningError(written.removeprefix("oarlock: ")) from None
            raise error.EngineError(
                f"cluster {name!r} ended before its engines were ready "
                f"(exit code {process.returncode}); it wrote:\n{written or '(nothing)'}"
            ) from None
        except BaseException:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_POLITE)
            process.kill()
            raise
        finally:
            Path(log_file).unlink(missing_ok=True)


def stop(record: registry.ClusterRecord) -> tuple[bool, str]:
    """End a cluster and wait until it is gone: asked, then terminated, then killed.

    Returns:
        Whether it is gone, and what it could not write into its store; empty if there is nothing.

    Raises:
        PermissionError: Its controller is embedded in a program of the user's, which has to end
            it itself.
    """
    if record.embedded:
        raise PermissionError(
            f"cluster {record.cluster_id!r} lives in process {record.pid}, which oarlock does "
            "not end\n\nhint: call stop_cluster_sync() there, or end that program"
        )
    if record in registry.list_headless():
        registry.remove_headless(record)
        return True, ""
    with _last_words(record) as unwritten:
        if not _ask_to_stop(record):
            _signal(record, signal.SIGTERM)
        if _wait_gone(record, _POLITE):
            return True, unwritten()
    _signal(record, signal.SIGKILL)
    gone = _wait_gone(record, _KILLED)
    # Its engines would wait for another controller.
    registry.remove_headless(record)
    return gone, ""


def count_engines(record: registry.ClusterRecord) -> int | None:
    """Engines a running cluster has now; None when it does not answer."""
    try:
        core = _oarlock.Client.connect(record.directory, _ANSWER)
    except (OSError, RuntimeError):
        return None
    try:
        return len(core.engine_ids())
    finally:
        core.close()


# As in `controller/farewell.rs`.
_UNWRITTEN = "store: not written when the cluster stopped"


@contextlib.contextmanager
def _last_words(record: registry.ClusterRecord) -> Iterator[Callable[[], str]]:
    """What a controller says that it could not write into its store, while it stops.

    Its directory goes with it, but not a file that is open.
    """
    with contextlib.ExitStack() as stack:
        log: TextIO | None = None
        with contextlib.suppress(OSError):
            path = os.path.join(record.directory, "door.log")
            log = stack.enter_context(open(path, errors="replace"))
            log.seek(0, os.SEEK_END)

        def unwritten() -> str:
            lines = [] if log is None else log.read().splitlines()
            said = [line.partition(_UNWRITTEN)[2] for line in lines if _UNWRITTEN in line]
            return "\n".join(_UNWRITTEN + text for text in said)

        yield unwritten


class _StartFailed(Exception):
    """The detached process ended."""


class _Start:
    """Watches the engines of a cluster of this process until all are ready or one has ended.

    Attributes:
        ended: To be set when the cluster ends.
        failure: Why the start failed, if it did; the cluster is then ended.
    """

    def __init__(
        self, record: registry.ClusterRecord, ready: Callable[[registry.ClusterRecord], None]
    ) -> None:
        self.ended = threading.Event()
        self.failure: str | None = None
        self._record = record
        self._ready = ready

    def watch(self) -> None:
        """Begin, in a thread of its own."""
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        failed = 0
        while not self.ended.wait(_LOOK):
            if _has(self._record, self._record.engines):
                self._ready(self._record)
                return
            failures = _failures(self._record)
            # Twice the same: those that end together are told together.
            if failures and len(failures) == failed:
                self.failure = (
                    f"{failed} of {self._record.engines} engines ended before they were ready, "
                    "so the cluster was stopped\n" + "\n".join(failures)
                )
                os.kill(os.getpid(), signal.SIGTERM)
                return
            failed = len(failures)


def _wait_ready(
    process: subprocess.Popen[bytes], name: str, n: int, timeout: float, log_file: str
) -> registry.ClusterRecord:
    """Wait until the cluster of `process` has its engines."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_LOOK)
            raise _StartFailed
        for record in registry.list_clusters():
            # One of the same name by another process is what the start is about to fail on.
            if record.cluster_id == name and record.pid == process.pid and _has(record, n):
                return record
    logs = os.path.join(places.base(), f"{name}.{process.pid}", "log")
    tail = launch.log_tail(logs)
    raise error.TimeoutError(
        f"cluster {name!r} did not have {engines(n)} after {timeout:g} s, so it was stopped\n"
        f"{tail or Path(log_file).name}\n\nhint: look for errors of the engines above"
    )


def _has(record: registry.ClusterRecord, n: int) -> bool:
    """Whether the cluster answers and has `n` engines, after a short wait for them."""
    try:
        core = _oarlock.Client.connect(record.directory, _ANSWER)
    except OSError:
        return False
    try:
        return core.wait_engines(n, _JOINING)
    except OSError:
        return False
    finally:
        core.close()


def _failures(record: registry.ClusterRecord) -> list[str]:
    """Why processes that the cluster started did not become engines, if it answers."""
    try:
        core = _oarlock.Client.connect(record.directory, _ANSWER)
    except OSError:
        return []
    try:
        _, failures = core.request("engine_status", None, _ANSWER)
    except (OSError, RuntimeError):
        return []
    else:
        return list(failures)
    finally:
        core.close()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Let SIGTERM end a cluster as Ctrl-C does."""
    raise KeyboardInterrupt


def _ask_to_stop(record: registry.ClusterRecord) -> bool:
    """Ask the controller over its socket; whether it agreed."""
    try:
        core = _oarlock.Client.connect(record.directory, _ANSWER)
    except (OSError, RuntimeError):
        return False
    try:
        core.request("stop", None, _ANSWER)
    except ConnectionError:
        # It was gone before it could say yes.
        return True
    except (OSError, RuntimeError):
        return False
    finally:
        core.close()
    return True


def _signal(record: registry.ClusterRecord, number: signal.Signals) -> None:
    """Signal the controller's process; its lock says that the pid is still its own."""
    if registry.is_running(record):
        with contextlib.suppress(ProcessLookupError):
            os.kill(record.pid, number)


def _wait_gone(record: registry.ClusterRecord, timeout: float) -> bool:
    """Wait until the process let go of its directory; whether it did in `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while registry.is_running(record):
        if time.monotonic() >= deadline:
            return False
        # There is nothing to wait on: it is no child of ours, and a lock has no timeout.
        time.sleep(_LOOK)
    # The directory is let go of a moment before the process ends.
    with contextlib.suppress(OSError):
        handle = os.pidfd_open(record.pid)
        try:
            select.select([handle], [], [], 1.0)
        finally:
            os.close(handle)
    return True
