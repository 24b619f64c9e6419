"""Waiting until started engines are ready, and saying why they are not."""

import os
import time
from collections.abc import Sequence

from oarlock import _oarlock

from . import launch
from ._engineset import EngineSet
from ._twins import wait_engines

# Between two looks at whether an engine died at its start, in seconds; joining wakes at once.
_LOOK = 0.1


async def wait_ready(core: _oarlock.Client, groups: Sequence[EngineSet], limit: float) -> None:
    """Wait until every process of `groups` has joined.

    Args:
        core: The session that spawned them.
        groups: What was started.
        limit: Seconds they may take.

    Raises:
        EngineError: One ended before it joined; says why, at once.
        TimeoutError: They took longer.
    """
    deadline = time.monotonic() + limit
    while True:
        missing = [seat for group in groups for seat in group.missing()]
        if not missing:
            return
        failures = core.spawned_failures()
        if failures:
            from oarlock import error

            raise error.EngineError(_describe_failures(failures))
        left = deadline - time.monotonic()
        if left <= 0:
            from oarlock import error

            raise error.TimeoutError(_describe_delay(core, groups, missing, limit))
        await wait_engines(core, len(core.engine_ids()) + len(missing), min(left, _LOOK))


def _describe_failures(failures: list[str]) -> str:
    first = failures[0].rstrip()
    others = len(failures) - 1
    more = f"\n\n({others} more ended the same way or another)" if others else ""
    return (
        f"an engine ended before it was ready: {first}{more}\n\n"
        "hint: the lines above are the engine's own last words; "
        "it uses the interpreter that runs this program"
    )


def _describe_delay(
    core: _oarlock.Client, groups: Sequence[EngineSet], missing: list[int], limit: float
) -> str:
    count = sum(len(group.seats) for group in groups)
    pids = sorted(pid for pid, _ in core.seats(missing) if pid is not None)
    tail = launch.log_tail(os.path.join(core.directory, "log"))
    return (
        f"{len(missing)} of {count} engines were not ready after {limit:g} s "
        f"(process {', '.join(map(str, pids))})\n{tail}\n\n"
        "hint: give Cluster a larger engine_timeout if this machine is busy"
    )
