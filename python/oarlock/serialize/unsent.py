"""The second try: without the names that a function captured and that cannot be pickled.

A function may mention a name that has a value on the client only by accident, a lock or a
connection say, while the value meant is the engine's. So such a value is left behind rather than
refused; a task that then misses the name is told why.
"""

from types import FunctionType
from typing import Any, Final

from oarlock.serialize.blame import explain
from oarlock.serialize.functions import captured, importable, is_interactive
from oarlock.serialize.pickler import Pickler

#: Each round leaves at least one name behind; a graph that needs more is beyond help.
_ROUNDS: Final = 32


def try_again(
    obj: Any, cause: Exception, failed: Pickler, root: str | None, *, out_of_band: bool = True
) -> Pickler:
    """Pickle `obj`, whose first try ended with `cause` in `failed`.

    Returns:
        The pickler that holds the result.

    Raises:
        SerializationError: It cannot be pickled in any way.
    """
    unsent: dict[tuple[int, str], str] = {}
    for _ in range(_ROUNDS):
        found = _unsendable(failed.functions, unsent)
        if not found:
            break
        unsent |= found
        failed = Pickler(out_of_band=out_of_band)
        failed.unsent = unsent
        try:
            failed.write(obj)
        except Exception as again:
            cause = again
        else:
            return failed
    raise explain(obj, cause, root) from cause


def _unsendable(
    functions: list[FunctionType], known: dict[tuple[int, str], str]
) -> dict[tuple[int, str], str]:
    names = [
        (function, name, value)
        for function in functions
        for name, value in captured(function).items()
        if (id(function), name) not in known
        and not (type(value) is FunctionType and is_interactive(value))
    ]
    # A class fails for the sake of what its methods mention; those come first.
    classes = [entry for entry in names if isinstance(entry[2], type) and not importable(entry[2])]
    others = [entry for entry in names if entry not in classes]
    return _failing(others, known) or _failing(classes, known)


def _failing(
    names: list[tuple[FunctionType, str, Any]], known: dict[tuple[int, str], str]
) -> dict[tuple[int, str], str]:
    found = {}
    for function, name, value in names:
        pickler = Pickler()
        pickler.unsent = known
        try:
            pickler.write(value)
        except Exception as error:
            # Without a hint of its own: the one for a missing name follows it.
            said = str(error).partition("\n\nhint: ")[0]
            found[id(function), name] = f"{type(error).__name__}: {said}"
    return found
