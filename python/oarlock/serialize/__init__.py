"""Objects to parts and back: the only package that pickles.

What travels is a list of parts: a pickle (protocol 5) and the large buffers it refers to, which are
never copied into it. Ordinary objects go through `dumps` and `loads`, functions through
`pack_function`, exceptions through `pack_error` and `unpack_error`.

In the order one may read it: `codes` (what a code object needs), `functions` and `classes` (how
those of ``__main__`` are taken apart and rebuilt), `pickler`, `buffers`, `parts` (dumps and loads),
`blame` (what could not be pickled), `packed` (functions and their cache), `failures`.

`parts` needs nothing of the others for plain data, and the others are loaded when they are needed.
"""

from __future__ import annotations

from oarlock.serialize.parts import dumps, dumps_many, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from oarlock.serialize.failures import describe, pack_error, unpack_error
    from oarlock.serialize.packed import pack_function

__all__ = [
    "describe",
    "dumps",
    "dumps_many",
    "loads",
    "pack_error",
    "pack_function",
    "unpack_error",
]


def __getattr__(name: str) -> Any:
    """Load functions and failures at their first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    home = "packed" if name == "pack_function" else "failures"
    value = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
    return value
