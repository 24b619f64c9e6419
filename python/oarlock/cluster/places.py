"""Where clusters live on this host: private directories, short enough for Unix sockets.

Two kinds of directory, both of mode 0700, both used for one run of one cluster and never again, so
that whoever cleans up after one run cannot hit the next:

- *temporary*, ``<root>/oarlock-<pid>-<random>``: an embedded cluster nobody needs to find. The pid
  in the name is that of the process that made it, so that leftovers of a killed process are known.
- *named*, ``<base>/<cluster id>.<pid>``: a cluster that other processes find by its id.

The root is ``$XDG_RUNTIME_DIR`` when that is private to the user, else the temporary directory; the
base is a directory below it that only this user may enter.
"""

import contextlib
import fcntl
import os
import re
import stat
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

# A socket's path ends at about 100 bytes; the sockets' own names take 33 of them.
LONGEST = 66
_LONGEST_ID = 24
# What is put below the base: a slash, an id, a dot and a pid.
_LONGEST_NAME = 1 + _LONGEST_ID + 1 + 7

_ID = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{_LONGEST_ID - 1}}}")
_TEMPORARY = re.compile(r"oarlock-(\d+)-[^/]+")

# A directory younger than this (seconds) may belong to a process that has not locked it yet.
_SETTLED = 5.0


def root() -> Path:
    """The directory below which all clusters of this host live."""
    return _root_and_base()[0]


def base() -> Path:
    """The directory of named clusters; made when it does not exist.

    Raises:
        PermissionError: It exists and is not private to this user.
    """
    path = _root_and_base()[1]
    make_private(path)
    return path


def _root_and_base() -> tuple[Path, Path]:
    """The first pair that is private enough and leaves room for the names of sockets."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    found = Path(runtime), Path(runtime, "oarlock")
    if runtime and _fits(found[1]) and _is_private(found[0]):
        return found
    # Anybody may write there, so the base's name says whose it is, and it is checked before use.
    name = f"oarlock-{os.geteuid()}"
    temporary = _temporary()
    found = Path(temporary), Path(temporary, name)
    return found if _fits(found[1]) else (Path("/tmp"), Path("/tmp", name))  # noqa: S108


def _temporary() -> str:
    """The directory for temporary files: as `tempfile` has it, which takes long to load."""
    if "tempfile" not in sys.modules:
        named = (os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
        first = next((path for path in (*named, "/tmp") if path), "")  # noqa: S108
        if os.path.isabs(first) and os.path.isdir(first) and os.access(first, os.W_OK | os.X_OK):
            return first
    import tempfile

    return tempfile.gettempdir()


def name_of(cluster_id: str) -> str:
    """The name of the directory of `cluster_id`; the empty id is the default cluster.

    Raises:
        ValueError: It cannot be the name of a directory.
    """
    name = cluster_id or "default"
    if not _ID.fullmatch(name):
        raise ValueError(
            f"{cluster_id!r} cannot be the id of a cluster\n\n"
            f"hint: use up to {_LONGEST_ID} letters, digits, '.', '_' or '-', "
            "beginning with a letter or digit"
        )
    return name


def make_private(path: Path) -> bool:
    """Make the directory with mode 0700, or check that the existing one is private.

    Returns:
        Whether it was made.

    Raises:
        PermissionError: It exists and another user owns it or may look into it.
    """
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        if not _is_private(path):
            raise PermissionError(
                f"{path} is not a directory that only uid {os.geteuid()} may enter, "
                "so oarlock puts no sockets there\n\n"
                f"hint: remove it, or `chmod 700 {path}` if it is yours"
            ) from None
        return False
    return True


def make_temporary(parent: Path | None = None) -> Path:
    """A fresh directory below `parent` (None: the root), for one run of an embedded cluster."""
    while True:
        path = (parent or root()) / f"oarlock-{os.getpid()}-{os.urandom(4).hex()}"
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
            return path


def remover(directory: Path) -> Callable[[], None]:
    """A call that removes `directory` with everything in it."""
    return partial(_remove, directory)


def _remove(directory: Path) -> None:
    if not os.path.lexists(directory):  # the controller has removed it
        return
    import shutil

    shutil.rmtree(directory, ignore_errors=True)


def sweep() -> list[Path]:
    """Remove temporary directories whose process is gone and which no controller holds.

    Returns:
        What was removed.
    """
    abandoned = [path for path in _old_directories() if _is_abandoned(path)]
    for path in abandoned:
        _remove(path)
    return abandoned


def is_locked(path: Path, *, shared: bool = False) -> bool:
    """Whether another open file holds the lock on `path`; a missing file is not locked.

    Args:
        path: The file.
        shared: Whether a shared lock counts as well.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, (fcntl.LOCK_EX if shared else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(handle)


def _old_directories() -> Iterator[Path]:
    """Temporary directories that have settled."""
    now = time.time()
    try:
        entries = list(os.scandir(root()))
    except OSError:
        return
    for entry in entries:
        if not _TEMPORARY.fullmatch(entry.name):
            continue
        try:
            age = now - entry.stat(follow_symlinks=False).st_mtime
        except OSError:
            continue
        if age >= _SETTLED:
            yield Path(entry.path)


def _is_abandoned(path: Path) -> bool:
    match = _TEMPORARY.fullmatch(path.name)
    return (
        match is not None
        and not process_exists(int(match[1]))
        and _is_private(path)
        and not is_locked(path / "lock")
    )


def _fits(base_path: Path) -> bool:
    """Whether the longest directory below `base_path` leaves room for the names of sockets."""
    return len(os.fsencode(base_path)) + _LONGEST_NAME <= LONGEST


def _is_private(path: Path) -> bool:
    """Whether `path` is a real directory that only this user may enter."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return (
        stat.S_ISDIR(found.st_mode)
        and found.st_uid == os.geteuid()
        and stat.S_IMODE(found.st_mode) & 0o077 == 0
    )


def process_exists(pid: int) -> bool:
    """Whether a process with this id runs (or waits to be reaped)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
