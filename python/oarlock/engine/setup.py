"""Makes the process of an engine ready: its ``__main__``, its module path, its last resorts."""

import faulthandler
import os
import sys

from oarlock import namespace

__all__ = ["fresh_main", "limit_exit", "prepare_path"]

#: After the goodbye, threads and exit handlers of users have this long, in seconds.
_EXIT_LIMIT: float = 5.0


def fresh_main() -> None:
    """Replace ``__main__`` by an empty module whose names are the user namespace."""
    main = type(sys)("__main__")
    sys.modules["__main__"] = main
    namespace.install(main.__dict__)
    sys.argv[:] = [""]


def prepare_path() -> None:
    """Let modules be found where the client finds them, after all that is found without."""
    for entry in os.environ.get("OARLOCK_PATH", "").split(os.pathsep):
        if entry and entry not in sys.path:
            sys.path.append(entry)


def limit_exit() -> None:
    """Let the process end soon, even when a thread of a user would keep it."""
    try:
        with open(os.devnull, "w") as nowhere:
            faulthandler.dump_traceback_later(_EXIT_LIMIT, exit=True, file=nowhere.fileno())
    except (OSError, RuntimeError):  # no such thing here: the controller's kill remains
        return
