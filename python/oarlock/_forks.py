"""Clients in a forked child: it has no I/O thread, so each of them must refuse at once."""

import os
import threading
import weakref
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from oarlock.client import Client

FORKED: Final = "forked"

_clients: "weakref.WeakSet[Client]" = weakref.WeakSet()
_lock = threading.Lock()
_watched = False


def remember(client: "Client") -> None:
    """Have `client` marked as forked in every child made by ``fork`` from now on."""
    global _watched
    with _lock:
        _clients.add(client)
        if not _watched:
            os.register_at_fork(after_in_child=_mark)
            _watched = True


def _mark() -> None:
    global _lock
    # Another thread of the parent may have held it.
    _lock = threading.Lock()
    for client in list(_clients):
        if client._gone is None:
            client._gone = FORKED
