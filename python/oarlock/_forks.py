"""The clients of this process, for the moments in which all of them are concerned.

In a forked child there is no I/O thread, so each of them must refuse at once. At the end of the
interpreter they are closed, see `_exit`.
"""

import os
import threading
import weakref
from typing import TYPE_CHECKING, Final

from oarlock import _exit

if TYPE_CHECKING:
    from oarlock.client import Client

FORKED: Final = "forked"

_clients: "weakref.WeakSet[Client]" = weakref.WeakSet()
_lock = threading.Lock()
_watched = False


def remember(client: "Client") -> None:
    """Have `client` marked as forked in every child made by ``fork``, and closed at exit."""
    global _watched
    with _lock:
        _clients.add(client)
        if not _watched:
            os.register_at_fork(after_in_child=_mark)
            _exit.prepare(_clients)
            _watched = True


def _mark() -> None:
    global _lock
    # Another thread of the parent may have held it.
    _lock = threading.Lock()
    for client in list(_clients):
        if client._gone is None:
            client._gone = FORKED
