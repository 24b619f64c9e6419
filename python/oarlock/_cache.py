"""What all clients of one core share: labels and the callback dispatcher."""

import threading
import weakref
from typing import TYPE_CHECKING

from oarlock._books import Labels

if TYPE_CHECKING:
    from oarlock import _oarlock
    from oarlock._dispatch import Dispatcher


class Link:
    """A core with the state that its clients share."""

    def __init__(self, core: "_oarlock.Client") -> None:
        """Wrap `core`; starts no thread."""
        self.core = core
        self.labels = Labels()
        self._dispatcher: Dispatcher | None = None
        self._lock = threading.Lock()

    @property
    def dispatcher(self) -> "Dispatcher":
        """Who runs callbacks for this core; made when first asked for."""
        if self._dispatcher is None:
            from oarlock._dispatch import Dispatcher

            with self._lock:
                if self._dispatcher is None:
                    self._dispatcher = Dispatcher(self.core)
        return self._dispatcher


# Weak: a link lives as long as a client uses it.
_links: weakref.WeakValueDictionary[str, Link] = weakref.WeakValueDictionary()
_links_lock = threading.Lock()


def link_of(core: "_oarlock.Client") -> Link:
    """The one link of `core`, made if there is none yet."""
    with _links_lock:
        link = _links.get(core.session)
        if link is None:
            link = _links[core.session] = Link(core)
        return link
