"""How engine processes of this host are started: command, environment, number."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

# Seconds; beyond it nobody waits.
LONGEST = 1e6
# Seconds for which a killed controller is waited for.
LEASE = 30.0
# Seconds for which an engine looks for a controller to which the network does not lead.
PATIENCE = 600.0
# Days for which a store keeps results that nobody fetched.
STORE_DAYS = 7.0
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]


class Care:
    """What is done about engines that end or fall silent.

    Args:
        restart: Whether one that ended by itself or was killed is replaced.
        suspect_after: Seconds without a sign of life after which one is shown as suspect.
        lost_after: Seconds after which it is given up.
        lease: Seconds for which engines and clients of a standalone controller that was killed wait
            for another to take its place; then they give up. 0 if none will.
        store: A directory where a standalone controller keeps its queue and its results, so that
            they survive it and its clients; made if it is not there. None to keep nothing.
        store_days: Days for which it keeps a result that nobody fetched.

    Raises:
        ValueError: The times of silence are not positive, or the second is shorter than the first;
            or the lease is negative, or 0 with a store; or the days are not positive.
    """

    def __init__(
        self,
        restart: bool = False,
        suspect_after: float = 3.0,
        lost_after: float = 10.0,
        lease: float = LEASE,
        store: str | os.PathLike[str] | None = None,
        store_days: float = STORE_DAYS,
    ) -> None:
        if not 0 <= lease <= LONGEST:
            raise ValueError(f"the lease is a number of seconds from 0 on, but is {lease!r}")
        if not 0.05 <= suspect_after <= lost_after <= LONGEST:
            raise ValueError(
                "suspect_after and lost_after are seconds from 0.05 on, the first not longer than "
                f"the second, but are {suspect_after!r} and {lost_after!r}"
            )
        if store is not None and lease == 0:
            raise ValueError(
                "a store is for a controller that follows this one, and with a lease of 0 nobody "
                "waits for it\n\nhint: leave out the lease, or the store"
            )
        if not 0 < store_days <= LONGEST:
            raise ValueError(f"store_days is a positive number of days, but is {store_days!r}")
        self.restart = bool(restart)
        self.suspect_after = float(suspect_after)
        self.lost_after = float(lost_after)
        self.lease = float(lease)
        self.store = None if store is None else os.path.abspath(os.fspath(store))
        self.store_days = float(store_days)

    def options(self) -> list[str]:
        """The same for the command line."""
        times = ["--suspect-after", f"{self.suspect_after}", "--lost-after", f"{self.lost_after}"]
        lease = ["--lease", f"{self.lease}"]
        days = ["--store-days", f"{self.store_days}"]
        store = ["--store", self.store, *days] if self.store is not None else []
        return [*(["--restart"] if self.restart else []), *times, *lease, *store]


class Listen:
    """Where a standalone controller lets peers in over a network, encrypted.

    Args:
        at: ``HOST:PORT`` of the interface; port 0 for any.
        connection_file: Where the file that lets in is written, besides the cluster's directory;
            None for nowhere else.
    """

    def __init__(self, at: str, connection_file: str | None = None) -> None:
        self.at = at
        self.connection_file = None if connection_file is None else os.path.abspath(connection_file)

    @property
    def files(self) -> list[str]:
        """The connection files besides the one in the cluster's directory."""
        return [] if self.connection_file is None else [self.connection_file]

    def options(self) -> list[str]:
        """The same for the command line."""
        files = [option for file in self.files for option in ("--connection-file", file)]
        return ["--listen", self.at, *files]


def cpu_count() -> int:
    """CPUs this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def engine_count(n: int | None) -> int:
    """The number of engines meant by `n`; None is one per CPU.

    Raises:
        TypeError: It is no integer.
        ValueError: It is negative.
    """
    if n is None:
        return cpu_count()
    if not isinstance(n, int) or isinstance(n, bool):
        raise TypeError(f"the number of engines must be an integer or None, not {n!r}")
    if n < 0:
        raise ValueError(f"the number of engines must not be negative, but is {n}")
    return n


def engine_command(directory: str, *options: str) -> list[str]:
    """The command of an engine of the controller in `directory`."""
    # -P: what happens to lie in the current directory must not shadow the engine's own imports;
    # the client's directories follow in OARLOCK_PATH.
    return [sys.executable, "-P", "-m", "oarlock.engine", directory, *options]


def engine_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The whole environment of an engine: this process's own, its module path, and `extra`."""
    environment = dict(os.environ)
    environment["OARLOCK_PATH"] = os.pathsep.join(_module_path())
    if _PACKAGE_ROOT.name not in ("site-packages", "dist-packages"):
        # Run from a source tree, which only this process may know about.
        known = environment.get("PYTHONPATH")
        entries = [str(_PACKAGE_ROOT), *([known] if known else [])]
        environment["PYTHONPATH"] = os.pathsep.join(entries)
    environment.update(extra or {})
    return environment


def _module_path() -> list[str]:
    """This process's ``sys.path``, absolute, so that modules beside a script import on engines."""
    entries = (os.path.abspath(entry or os.curdir) for entry in sys.path)
    return list(dict.fromkeys(entries))


def log_tail(directory: str, lines: int = 20) -> str:
    """The last lines of the newest logs in `directory`, each log under its name."""
    try:
        logs = sorted(Path(directory).glob("*.log"), key=lambda log: log.stat().st_mtime)
    except OSError:
        return ""
    parts = []
    for log in logs[-2:]:
        text = log.read_text(errors="replace").strip()
        if text:
            parts.append(f"--- {log.name}\n" + "\n".join(text.splitlines()[-lines:]))
    return "\n".join(parts)
