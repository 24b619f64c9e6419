"""What happens to clients when the interpreter ends.

A daemon thread that waits in the core must not be woken by the end of its client: it would print a
traceback, or come back to an interpreter that is being torn down. So the core is told first, from
when on only the main thread comes back from a wait, and then clients and clusters are closed.
"""

import atexit
import contextlib
import threading
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING

from oarlock import _oarlock, error

if TYPE_CHECKING:
    from oarlock.client import Client


def prepare(clients: "Iterable[Client]") -> None:
    """Have `clients` closed quietly at the interpreter's end. To be called once.

    Args:
        clients: Those to close, looked at when the time has come.
    """
    # Exit handlers run last in, first out. The one that ends clusters is weakref's, registered by
    # the first finalizer of the process; so let there be one before ours is registered.
    weakref.finalize(_leave, int).detach()
    atexit.register(_leave, clients)


def _leave(clients: "Iterable[Client]") -> None:
    _oarlock.exiting()
    _silence()
    for client in list(clients):
        with contextlib.suppress(Exception):
            client.close(0)


def _silence() -> None:
    """Have no thread tell that its client was closed: that is how daemons end, not their fault."""
    tell = threading.excepthook

    def tell_others(args: "threading.ExceptHookArgs") -> None:
        if not issubclass(args.exc_type, error.ClosedClient):
            tell(args)

    threading.excepthook = tell_others
