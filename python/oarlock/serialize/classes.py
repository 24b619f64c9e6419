"""Classes of ``__main__``, which travel by value, and who may change whom.

cloudpickle takes a class apart and gives it an identity, so that an instance that comes back is an
instance of the very class it was sent with. On the way back it would also overwrite that class
with the copy; here a class belongs to the process that defined it: news about it spread from
there, never to there.
"""

import weakref
from typing import Any, Final

_received: Final[weakref.WeakSet[type]] = weakref.WeakSet()
_home: Final[weakref.WeakSet[type]] = weakref.WeakSet()


def reduce_class(cls: type, reduced: Any) -> Any:
    """Put our rule in front of what cloudpickle does to fill in a class it has made.

    Args:
        cls: The class being pickled.
        reduced: cloudpickle's reduction of it; one without a state setter is left alone.
    """
    if not (isinstance(reduced, tuple) and len(reduced) == 6):
        return reduced
    if cls not in _received:
        _home.add(cls)
    make, arguments, state, listed, mapped, fill = reduced
    return make, arguments, (fill, state), listed, mapped, _fill_in


def _fill_in(cls: type, state: tuple[Any, Any]) -> None:
    if cls in _home:
        return
    fill, inner = state
    _received.add(cls)
    fill(cls, inner)
