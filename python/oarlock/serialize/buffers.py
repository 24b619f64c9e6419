"""Which bytes stay out of the pickle, and how bytes and memoryviews join them.

Arrays hand over their buffers on their own. `bytes` and `bytearray` never do, so the large ones are
replaced by carriers before pickling, as deep as arguments usually nest; and a memoryview keeps its
format and shape.
"""

from __future__ import annotations

from _pickle import PickleBuffer
from itertools import pairwise

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Final

#: Buffers at least this long, in bytes, travel beside the pickle; shorter ones cost less inside.
OUT_OF_BAND: Final = 1024

#: `bytes` at least this long, in bytes, are worth a carrier. The C pickler hands chunks of this
#: size to its file without copying them, which is how `holds_large` knows that there is one.
CARRIED: Final = 64 * 1024

#: How deep in tuples, lists and dicts `carry` looks: the call, its arguments, and one more.
_DEPTH: Final = 4


class _Carrier:
    """Large bytes on the way; the other side sees plain bytes (or a bytearray)."""

    __slots__ = ("content",)

    def __init__(self, content: bytes | bytearray) -> None:
        self.content = content

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self.content), (PickleBuffer(self.content),)


def holds_large(chunks: Sequence[bytes | bytearray]) -> bool:
    """Whether a pickle in pieces may hold large bytes, which are a piece of their own then.

    A long list comes in pieces too, so what tells is the piece before: it ends with an opcode and
    the length of the bytes. Looking for them in the objects would take longer than the pickle.
    """
    for before, chunk in pairwise(chunks):
        if len(chunk) >= CARRIED:
            length = len(chunk).to_bytes(8, "little")
            if before.endswith((b"B" + length[:4], b"\x8e" + length, b"\x96" + length)):
                return True
    return False


def carry(thing: Any) -> Any:
    """`thing` with a carrier in place of each large bytes object; itself when it holds none."""
    return _carry(thing, _DEPTH, {})


def _carry(thing: Any, depth: int, seen: dict[int, Any]) -> Any:
    kind = type(thing)
    if kind in (bytes, bytearray):
        if len(thing) < CARRIED:
            return thing
    elif depth == 0 or kind not in (tuple, list, dict):
        return thing
    # What occurs twice must stay one object; `thing` is held by its container meanwhile.
    found = seen.get(id(thing))
    if found is not None:
        return found
    seen[id(thing)] = thing  # a container that holds itself keeps its inner self unchanged
    made: Any = thing
    if kind in (bytes, bytearray):
        made = _Carrier(thing)
    elif kind is dict:
        values = [_carry(value, depth - 1, seen) for value in thing.values()]
        if any(new is not old for new, old in zip(values, thing.values(), strict=True)):
            made = dict(zip(thing, values, strict=True))
    else:
        items = [_carry(item, depth - 1, seen) for item in thing]
        if any(new is not old for new, old in zip(items, thing, strict=True)):
            made = kind(items)
    seen[id(thing)] = made
    return made


def reduce_view(view: memoryview) -> tuple[Any, ...]:
    """How pickle shall write a memoryview."""
    if not view.c_contiguous:
        return _view_of, (view.tobytes(), view.format, view.shape)
    return _view_of, (PickleBuffer(view), view.format, view.shape)


def _view_of(content: Any, form: str, shape: tuple[int, ...]) -> memoryview:
    flat = memoryview(content).cast("B")
    if form == "B" and len(shape) == 1:
        return flat
    if 0 in shape:  # such a shape cannot be cast to; an empty view has nothing to index anyway
        return flat.cast(form)  # type: ignore[call-overload, no-any-return]
    return flat.cast(form, shape)  # type: ignore[call-overload, no-any-return]
