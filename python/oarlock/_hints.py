"""What several messages say about engines, in the same words each time."""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from oarlock.client import Client


def engines(count: int) -> str:
    """So many engines, in words."""
    return f"{count} engine{'' if count == 1 else 's'}"


AWAY: Final = (
    "the controller was killed or cannot be reached, so this waits for it or for another; what "
    "runs goes on\n\n"
    "hint: if it was killed, give its `oarlock start` again, see `oarlock status`"
)


def say_away(away: bool) -> None:
    """Tell a person who waits that the controller is gone, or that there is one again."""
    import logging

    back = "the controller, or another, is there again and goes on with the work"
    text = AWAY.replace("\n\n", "; ") if away else back
    logging.getLogger("oarlock").warning("oarlock: %s", text)


def say_scarce(engine: int, pid: int, host: str, used: int, allowed: int) -> None:
    """Tell a person who waits that an engine comes near the memory that it may have."""
    import logging

    logging.getLogger("oarlock").warning(
        "oarlock: engine %d (process %d on %s) has %s in memory, %.0f %% of the %s that it and"
        " others with it may have; beyond that the kernel ends it, and its task fails with"
        " EngineLost or, if it has retries, is run again elsewhere; hint: give each task less at"
        " once, or `del` what tasks keep there; rc.engine_status() tells who has how much",
        engine,
        pid,
        host,
        _size(used),
        100 * used / max(allowed, 1),
        _size(allowed),
    )


def _size(count: float) -> str:
    """A number of bytes, in words."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def why_nothing_runs(client: "Client") -> str:
    """Why the tasks of a client wait, with what helps, when no engine is there; else empty.

    Tasks of load-balanced views wait for engines, so this is no failure yet, but a person who looks
    at them has to be told.
    """
    if client._core.away:
        return AWAY
    if client._core.closed or client._core.engine_ids():
        return ""
    how = (
        "start engines with `client.cluster.start_engines_sync(n)`"
        if client.cluster is not None
        else f"start engines with `python -m oarlock.engine {client._core.directory}`"
    )
    limit = client.engines_timeout
    until = "" if limit is None else f", for {limit:g} s at most"
    return f"no engine is there, so what is left waits for one{until}\n\nhint: {how}, or cancel()"


def no_engines(client: "Client") -> str:
    """The number of engines in words, when there is none; else empty."""
    return "" if client._core.closed or client._core.engine_ids() else engines(0)
