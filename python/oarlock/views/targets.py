"""From what a user writes as targets to a list of engine ids."""

import operator
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from oarlock import error

if TYPE_CHECKING:
    from oarlock import _oarlock

# 'all', one engine id, or several.
Targets = int | list[int] | str


class EngineGone(error.EngineError, KeyError):
    """A view addresses an engine that is not (or no longer) there.

    Also a KeyError, which is what code written for ipyparallel catches.

    Example:
        >>> try:
        ...     rc.direct_view([0, 99]).apply_async(abs, -1)
        ... except EngineGone as gone:
        ...     print(gone)
        engine 99 is not connected ...
    """

    # KeyError would show the repr of the text.
    __str__ = Exception.__str__


def normalise(targets: Any) -> Targets:
    """Check the form of `targets` without asking which engines there are.

    Args:
        targets: ``'all'`` (or None), an engine id, or an iterable of engine ids.

    Returns:
        ``'all'``, an int, or a list of ints.

    Raises:
        TypeError: For anything else.
    """
    if targets is None or (isinstance(targets, str) and targets == "all"):
        return "all"
    if isinstance(targets, Iterable) and not isinstance(targets, str | bytes):
        return [_engine_id(target, targets) for target in targets]
    return _engine_id(targets, targets)


def _engine_id(target: Any, targets: Any) -> int:
    try:
        return operator.index(target)
    except TypeError:
        raise TypeError(
            f"targets must be 'all', an engine id or a list of engine ids, not {targets!r}"
        ) from None


def resolve(core: "_oarlock.Client", targets: Targets) -> list[int]:
    """The ids of the engines that `targets` means right now.

    Raises:
        NoEnginesRegistered: When there is no engine at all, or `targets` is an empty list.
        EngineGone: When a named engine is not there.
    """
    present = core.engine_ids()
    if targets == "all":
        if not present:
            raise error.NoEnginesRegistered
        return present
    wanted = [targets] if isinstance(targets, int) else [int(target) for target in targets]
    if not wanted:
        raise error.NoEnginesRegistered
    missing = [target for target in wanted if target not in present]
    if missing:
        if not present:
            raise error.NoEnginesRegistered
        raise EngineGone(_gone_text(missing, present))
    return wanted


def _gone_text(missing: Sequence[int], present: Sequence[int]) -> str:
    names = ", ".join(map(str, missing))
    which = f"engine {names} is" if len(missing) == 1 else f"engines {names} are"
    return (
        f"{which} not connected (ended, or never there); nothing was submitted. "
        f"Connected are {present}\n\n"
        "hint: client[:] or client.direct_view() addresses the engines there are"
    )
