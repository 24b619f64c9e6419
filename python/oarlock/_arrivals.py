"""What `Client.wait_for_engines` does: wait until enough engines are there, or one is lost."""

import os
import sys
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final

from oarlock import error
from oarlock._hints import engines

if TYPE_CHECKING:
    from oarlock.client import Client

# Engines that end before they join change no list of engines; their end is noticed within this
# many seconds.
_LOOK: Final = 0.2


def wait_for_engines(
    client: "Client", n: int | None, *, timeout: float | None, block: bool, interactive: bool | None
) -> "Future[None] | None":
    """See `Client.wait_for_engines`."""
    wanted = _wanted(client) if n is None else n
    seconds = None if timeout is None or timeout < 0 else timeout
    if block:
        _wait(client, wanted, seconds, _is_interactive() if interactive is None else interactive)
        return None
    future: Future[None] = Future()

    def wait() -> None:
        try:
            _wait(client, wanted, seconds, bool(interactive))
        except BaseException as failure:
            _settle(future, failure)
        else:
            _settle(future, None)

    threading.Thread(target=wait, name="oarlock-wait-for-engines", daemon=True).start()
    return future


def _settle(future: "Future[None]", failure: BaseException | None) -> None:
    if not future.set_running_or_notify_cancel():
        return
    if failure is None:
        future.set_result(None)
    else:
        future.set_exception(failure)


def _wanted(client: "Client") -> int:
    cluster: Any = client.cluster
    if cluster is None:
        raise TypeError(
            "wait_for_engines needs a number: this client has no cluster to say how many"
        )
    started = sum(len(engine_set.seats) for engine_set in cluster.engines.values())
    return started or cluster.n or 1


def _wait(client: "Client", wanted: int, timeout: float | None, interactive: bool) -> None:
    core = client._core
    deadline = None if timeout is None else time.monotonic() + timeout
    seen: set[int] = set()
    shown = -1
    failures = len(core.spawned_failures())
    while True:
        client._check()
        version = core.engines_version()
        present = core.engine_ids()
        if interactive and len(present) != shown:
            shown = len(present)
            print(f"\rengines: {shown}/{wanted}", end="", file=sys.stderr, flush=True)
        if len(present) >= wanted:
            break
        lost = sorted(seen.difference(present))
        if lost:
            raise error.EngineError(
                f"engine {lost[0]} was lost while waiting for {engines(wanted)}; "
                f"{len(present)} are there"
            )
        ended = core.spawned_failures()
        if len(ended) > failures:
            raise error.EngineError(f"an engine ended before it joined: {ended[-1]}")
        seen.update(present)
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise error.TimeoutError(
                f"waited {timeout:g} s for {engines(wanted)}; there are {len(present)}"
            )
        # An embedded controller spawns, so only there can an engine end unseen.
        pause = (_LOOK if left is None else min(_LOOK, left)) if core.embedded else left
        core.wait_engines_change(version, pause)
    if interactive:
        print(file=sys.stderr)


def _is_interactive() -> bool:
    ipython = sys.modules.get("IPython")
    silenced = os.environ.get("OARLOCK_NONINTERACTIVE", "") not in ("", "0")
    return ipython is not None and ipython.get_ipython() is not None and not silenced
