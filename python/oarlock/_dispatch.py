"""Runs what is to happen when tasks are done, in one thread per client.

The thread waits in the core, without the GIL, for the tokens that `Tasks.notify` left there, and
calls what belongs to each. It starts with the first call registered and ends when the client is
closed; whoever is still registered then is called too, so that nobody waits for ever, and sees that
the tasks are not done.
"""

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oarlock import _oarlock

_LOG = logging.getLogger("oarlock")


class Dispatcher:
    """Calls back when tasks are done.

    Args:
        core: the client's compiled part.
    """

    def __init__(self, core: "_oarlock.Client") -> None:
        self._core = core
        self._lock = threading.Lock()
        self._calls: dict[int, Callable[[], object]] = {}
        self._next = 0
        self._thread: threading.Thread | None = None
        self._ended = False

    def watch(
        self,
        tasks: "_oarlock.Tasks",
        call: Callable[[], object],
        *,
        index: int | None = None,
        count: int | None = None,
    ) -> int:
        """Call once when tasks are done.

        Args:
            tasks: the tasks.
            call: what to call, without arguments, in the dispatcher's thread. It is called as well
                when the client closes first.
            index: only this task instead of all.
            count: at least so many of them instead of all.

        Returns:
            A token for `forget`.
        """
        with self._lock:
            token = self._next
            self._next += 1
            ended = self._ended
            if not ended:
                self._calls[token] = call
                if self._thread is None:
                    # A daemon: the interpreter must not wait for it before the client is closed.
                    self._thread = threading.Thread(
                        target=self._run, name="oarlock-callbacks", daemon=True
                    )
                    self._thread.start()
        if ended:
            call()
            return token
        try:
            tasks.notify(token, index, count)
        except BaseException:
            self.forget(token)
            raise
        return token

    def forget(self, token: int) -> None:
        """Do not call any more; nothing happens if that was done already."""
        with self._lock:
            wanted = self._calls.pop(token, None)
        if wanted is not None:
            self._core.forget_token(token)

    def join(self, timeout: float | None = None) -> None:
        """Wait for the thread to end after the client was closed; at most `timeout` seconds."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _run(self) -> None:
        while True:
            try:
                tokens = self._core.next_tokens()
            except Exception:  # the connection is gone
                tokens = []
            if not tokens and self._core.closed:
                break
            for token in tokens:
                self._call(token)
        with self._lock:
            self._ended = True
            left = list(self._calls)
        for token in left:
            self._call(token)

    def _call(self, token: int) -> None:
        with self._lock:
            call = self._calls.pop(token, None)
        if call is None:
            return
        try:
            call()
        except BaseException:  # of user code; the thread serves others too
            _LOG.exception("a callback of a result raised; other callbacks go on")
