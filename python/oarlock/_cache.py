"""What all clients of one core share: functions already sent, labels, the callback dispatcher.

A function's pickle crosses to Rust once and is named by its hash from then on. The cache remembers
which names the core knows, least recently used first, and has the oldest forgotten beyond a count
and a size. A name is *pinned* between the look-up and the end of the submission that uses it, so a
second thread cannot have it forgotten in between; after that the core keeps the order itself.

Two clients on one embedded core must share this, or one would have functions forgotten that the
other still believes to be known.
"""

import threading
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from oarlock._books import Labels

if TYPE_CHECKING:
    from oarlock import _oarlock
    from oarlock._dispatch import Dispatcher

MAX_FUNCTIONS: Final = 4096
MAX_FUNCTION_BYTES: Final = 64 << 20


class _Entry:
    """One function the core knows: how large it is and how many submissions use it right now."""

    __slots__ = ("pins", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.pins = 0


class FunctionCache:
    """The functions one core knows by name."""

    def __init__(
        self,
        core: "_oarlock.Client",
        max_functions: int = MAX_FUNCTIONS,
        max_bytes: int = MAX_FUNCTION_BYTES,
    ) -> None:
        """Start empty.

        Args:
            core: Where functions are put and forgotten.
            max_functions: How many to keep.
            max_bytes: How many bytes of pickles to keep; a single larger one is kept while in use.
        """
        self._core = core
        self._max_functions = max_functions
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        # Held while the core is told, so that it hears puts and forgets in the order made here.
        self._lock = threading.Lock()

    def pin(self, func: bytes, body: bytes) -> _Entry:
        """Make sure the core knows `func` and goes on knowing it until `unpin`.

        Args:
            func: Name of the function, 16 bytes.
            body: Its pickle, used only if the core does not know the name yet.
        """
        with self._lock:
            entry = self._entries.get(func)
            if entry is None:
                self._core.put_function(func, body)
                entry = self._entries[func] = _Entry(len(body))
                entry.pins = 1
                self._bytes += entry.size
                self._evict()
            else:
                self._entries.move_to_end(func)
                entry.pins += 1
            return entry

    def unpin(self, entry: _Entry) -> None:
        """Undo one `pin`."""
        with self._lock:
            entry.pins -= 1

    def _evict(self) -> None:
        if len(self._entries) <= self._max_functions and self._bytes <= self._max_bytes:
            return
        for func, entry in list(self._entries.items()):
            if entry.pins:
                continue
            del self._entries[func]
            self._bytes -= entry.size
            self._core.forget_function(func)
            if len(self._entries) <= self._max_functions and self._bytes <= self._max_bytes:
                return


class Link:
    """A core with the state that its clients share."""

    def __init__(self, core: "_oarlock.Client") -> None:
        """Wrap `core`; starts no thread."""
        self.core = core
        self.functions = FunctionCache(core)
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
