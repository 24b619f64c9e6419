"""Named clusters of this user on this host: who runs where, and who is gone.

A cluster is alive exactly as long as its process holds the lock on ``cluster.json`` in the
cluster's directory; the kernel drops the lock however the process ends. The file itself says who
that process is. Claims and looks are made one at a time under the lock of the base directory, so
a look never disturbs a start, and a directory without an owner is a leftover: unless its controller
was killed and engines or clients of it, which hold the lock on ``members``, wait for another, or
those on other hosts may, which is as long after the date of ``followed`` as it says. Such
a cluster is *headless*, and who claims its name goes on in its directory.
"""

import contextlib
import fcntl
import json
import os
import shlex
import shutil
import time
import weakref
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from . import places

_RECORD = "cluster.json"
_MEMBERS = "members"
_FOLLOWED = "followed"
# The date of that file is renewed four times in a lease.
_RENEWED = 1.25
_CONNECTION_FILE = "connection.json"


class ClusterNotFoundError(FileNotFoundError):
    """No cluster of that name runs here; the text says how to start one."""


class ClusterRunningError(FileExistsError):
    """A cluster of that name already runs here."""


@dataclass(frozen=True, slots=True)
class ClusterRecord:
    """What a running cluster says about itself.

    Attributes:
        cluster_id: Its id; ``default`` for the one without a name.
        directory: Where its sockets and logs are.
        pid: The process of its controller.
        engines: How many engines were asked for at the start.
        embedded: Whether the controller lives in a user's own process.
        started: Seconds since the epoch.
        store: The directory where its queue and its results survive it; empty without one.
        listen: ``HOST:PORT`` for peers over a network, as given at the start; empty for none.
    """

    cluster_id: str
    directory: str
    pid: int
    engines: int
    embedded: bool
    started: float
    store: str = ""
    listen: str = ""

    @property
    def connection_file(self) -> str:
        """What lets in over a network, if the cluster listens."""
        return os.path.join(self.directory, _CONNECTION_FILE)

    @property
    def log_directory(self) -> str:
        """Where its engines write what no task of theirs wrote."""
        return os.path.join(self.directory, "log")


class Claim:
    """The right to run a cluster in a directory; held until `release` or the process ends."""

    def __init__(self, record: ClusterRecord, handle: int, *, is_heir: bool = False) -> None:
        self.record = record
        self._is_heir = is_heir
        self._handle = handle
        self._pid = os.getpid()
        _claims.add(self)

    @property
    def directory(self) -> str:
        """The directory that was claimed."""
        return self.record.directory

    def release(self) -> None:
        """Remove the directory and give up the claim. Idempotent; nothing in a forked child."""
        if self._handle < 0 or os.getpid() != self._pid:
            return
        with _one_at_a_time(places.base()):
            shutil.rmtree(self.directory, ignore_errors=True)
            os.close(self._handle)
        self._handle = -1

    def give_up(self) -> None:
        """As `release`, but where others wait for a controller they go on waiting."""
        if self._is_heir and self._handle >= 0 and os.getpid() == self._pid:
            os.close(self._handle)
            self._handle = -1
        self.release()

    def disown(self) -> None:
        """In a forked child: let go of the file, so that only the parent holds the lock."""
        if self._handle >= 0 and os.getpid() != self._pid:
            os.close(self._handle)
            self._handle = -1


_claims: weakref.WeakSet[Claim] = weakref.WeakSet()


def _disown_all() -> None:
    for claim_ in list(_claims):
        claim_.disown()


os.register_at_fork(after_in_child=_disown_all)


def claim(
    cluster_id: str = "",
    *,
    engines: int,
    embedded: bool = False,
    store: str | None = None,
    listen: str = "",
) -> Claim:
    """Make the directory of a new cluster and keep others out of it; or go on in the directory of
    one whose controller was killed.

    Leftovers of clusters of which nothing lives are removed on the way.

    Args:
        cluster_id: Letters, digits, ``.``, ``_`` and ``-``; empty for the default cluster.
        engines: How many engines it starts with.
        embedded: Whether its controller lives in a user's own process.
        store: Where its queue and its results survive it, if they do.
        listen: Where it lets peers in over a network, if it does.

    Raises:
        ClusterRunningError: One with this id already runs.
        ValueError: The id cannot be the name of a directory.
        PermissionError: The place for clusters is not private to this user.
    """
    name = places.name_of(cluster_id)
    base = places.base()
    with _one_at_a_time(base):
        running = {record.cluster_id: record for record in _living(base)}
        if name in running:
            record = running[name]
            raise ClusterRunningError(
                f"cluster {name!r} already runs: process {record.pid}, {record.directory}\n\n"
                f"hint: connect with {how_to_connect(name)}, or end "
                + (
                    "the program it lives in"
                    if record.embedded
                    else f"it with `{how_to_stop(name)}`"
                )
            )
        headless = [record for record in _headless(base) if record.cluster_id == name]
        if headless:
            directory = Path(headless[-1].directory)
        else:
            directory = base / f"{name}.{os.getpid()}"
            places.make_private(directory)
        pid, now = os.getpid(), time.time()
        record = ClusterRecord(
            name, str(directory), pid, engines, embedded, now, store or "", listen
        )
        handle = os.open(
            directory / _RECORD, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600
        )
        fcntl.flock(handle, fcntl.LOCK_EX)
        os.write(handle, json.dumps(asdict(record)).encode())
    return Claim(record, handle, is_heir=bool(headless))


def find(cluster_id: str = "") -> str:
    """The directory of a running cluster.

    Args:
        cluster_id: Its id; empty for the default cluster.

    Raises:
        ClusterNotFoundError: None of that id runs; says how to start one.
        ValueError: The id cannot be the name of a directory.
    """
    name = places.name_of(cluster_id)
    records = list_clusters()
    for record in records:
        if record.cluster_id == name:
            return record.directory
    for record in list_headless():
        if record.cluster_id == name:
            raise ClusterNotFoundError(
                f"the controller of cluster {name!r} (process {record.pid}) was killed, and its "
                f"engines wait for another\n\nhint: start it again with `{how_to_start(record)}`, "
                f"or end it with `{how_to_stop(name)}`"
            )
    named = "" if name == "default" else f" --cluster-id {name}"
    others = ", ".join(record.cluster_id for record in records)
    raise ClusterNotFoundError(
        f"no cluster {name!r} runs on this host (looked in {places.base()}"
        f"{f'; running: {others}' if others else ''})\n\n"
        f"hint: start one with `oarlock start -n 4{named}`, "
        "or inside Python with `with oarlock.Cluster(n=4) as rc:`"
    )


def list_clusters() -> list[ClusterRecord]:
    """The clusters that run now, by id; leftovers of killed ones are removed."""
    base = places.base()
    with _one_at_a_time(base):
        return _living(base)


def list_headless() -> list[ClusterRecord]:
    """The clusters whose controller was killed, and that can be started again where they were."""
    base = places.base()
    with _one_at_a_time(base):
        _living(base)
        return _headless(base)


def remove_headless(record: ClusterRecord) -> None:
    """Have nobody wait any more for the controller of a cluster that was killed."""
    base = places.base()
    with _one_at_a_time(base):
        if record in _headless(base):
            shutil.rmtree(record.directory, ignore_errors=True)


def is_running(record: ClusterRecord) -> bool:
    """Whether that very cluster (not a later one with its id) still runs."""
    return record in list_clusters()


def _living(base: Path) -> list[ClusterRecord]:
    """Records of the directories with an owner, by id; those nobody lives with are removed."""
    living = []
    for directory in _directories(base):
        if places.is_locked(directory / _RECORD):
            living.extend(_read(directory))
        elif not _is_awaited(directory):
            shutil.rmtree(directory, ignore_errors=True)
    return living


def _headless(base: Path) -> list[ClusterRecord]:
    """Records of the directories without an owner where somebody waits for one, by id."""
    return [
        record
        for directory in _directories(base)
        if not places.is_locked(directory / _RECORD) and _is_awaited(directory)
        for record in _read(directory)
    ]


def _is_awaited(directory: Path) -> bool:
    """Whether somebody waits, or may wait, for another controller to live here."""
    if places.is_locked(directory / _MEMBERS, shared=True):
        return True
    with contextlib.suppress(OSError, ValueError):
        with open(directory / _FOLLOWED) as file:
            lease = float(file.read(32))
            age = time.time() - os.fstat(file.fileno()).st_mtime
        # A date that is yet to come is that of a clock that was wrong.
        return abs(age) <= lease * _RENEWED
    return False


def _directories(base: Path) -> list[Path]:
    return sorted(entry for entry in base.iterdir() if entry.is_dir())


def _read(directory: Path) -> list[ClusterRecord]:
    """The record in a directory, if there is one."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return [ClusterRecord(**json.loads((directory / _RECORD).read_bytes()))]
    return []


@contextlib.contextmanager
def _one_at_a_time(base: Path) -> Iterator[None]:
    """Hold the lock of `base`; whoever holds it only looks at a few files."""
    handle = os.open(base / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def how_to_stop(name: str) -> str:
    """The command that ends the cluster called `name`."""
    return "oarlock stop" if name == "default" else f"oarlock stop {name}"


def how_to_start(record: ClusterRecord) -> str:
    """The command that starts a cluster like this."""
    named = "" if record.cluster_id == "default" else f" --cluster-id {record.cluster_id}"
    kept = f" --store {shlex.quote(record.store)}" if record.store else ""
    listen = f" --listen {record.listen}" if record.listen else ""
    return f"oarlock start -n {record.engines}{named}{kept}{listen}"


def how_to_connect(name: str) -> str:
    """The call that connects to the cluster called `name`."""
    return "oarlock.Client()" if name == "default" else f"oarlock.Client(cluster_id={name!r})"
