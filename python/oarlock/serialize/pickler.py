"""The pickler: cloudpickle's, with our rules for functions, classes, names and buffers.

One pickler serves many dumps, since making one costs more than a small dump. A dump that failed
leaves its pickler in doubt; `parts` throws that one away.
"""

import copyreg
import pickle
from collections.abc import Callable, Mapping
from types import CodeType, FunctionType
from typing import Any, Final

import cloudpickle

from oarlock.reference import Reference
from oarlock.serialize import buffers, codes, named
from oarlock.serialize.classes import reduce_class
from oarlock.serialize.functions import Cells, is_interactive, reduce_function
from oarlock.serialize.parts import PROTOCOL

# Its own table, looked up in `reducer_override`: as a chain in front of copyreg's it would cost
# every object a failed lookup in Python.
_TABLE: Final[Mapping[type, Callable[[Any], Any]]] = {
    **cloudpickle.Pickler.dispatch_table.maps[0],
    **named.REDUCERS,
    CodeType: codes.reduce_code,
    memoryview: buffers.reduce_view,
}


class _Sink:
    """The pickler's file: it keeps the chunks, and one dump of a small object is one chunk."""

    __slots__ = ("write",)

    def __init__(self, chunks: list[Any]) -> None:
        self.write = chunks.append


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles one object after the other.

    Attributes:
        chunks: The pickle of the last dump, in pieces.
        views: The buffers it refers to.
        volatile: Whether it holds a `Reference`, which means something new each time.
        plain: Whether it is data alone, so that clearing the memo is all the cleaning it takes.
        functions: The functions of ``__main__`` in it, to find out which names cannot be sent.
        unsent: Captured names to leave out, as (id of the function, name), and why.
        write: ``write(obj)`` appends the pickle of `obj` to `chunks`, straight from C.
    """

    dispatch_table = copyreg.dispatch_table

    def __init__(self, *, out_of_band: bool = True) -> None:
        self.chunks: list[Any] = []
        self.views: list[memoryview] = []
        self.plain = True
        self.volatile = False
        self.cells = Cells()
        self.functions: list[FunctionType] = []
        self.unsent: dict[tuple[int, str], str] = {}
        super().__init__(_Sink(self.chunks), PROTOCOL, self._take if out_of_band else None)
        self.write = super(cloudpickle.Pickler, self).dump

    def reset(self) -> None:
        """Forget the last dump."""
        self.clear_memo()
        self.chunks.clear()
        self.views.clear()
        if not self.plain:
            self.plain = True
            self.volatile = False
            self.cells = Cells()
            self.functions = []
            self.globals_ref.clear()

    def reducer_override(self, obj: Any) -> Any:
        """Choose how an object that is no plain data is written."""
        kind = type(obj)
        if kind is FunctionType:
            self.plain = False
            return (
                reduce_function(self, obj) if is_interactive(obj) else super().reducer_override(obj)
            )
        if isinstance(obj, type):
            return reduce_class(obj, super().reducer_override(obj))
        if kind is Reference:
            self.plain, self.volatile = False, True
        reducer = _TABLE.get(kind)
        return NotImplemented if reducer is None else reducer(obj)

    def _take(self, buffer: pickle.PickleBuffer) -> bool:
        """Take `buffer` out of the pickle; True leaves it in."""
        try:
            view = buffer.raw()
        except BufferError:  # in several pieces: the pickle says so better than we could
            return True
        if view.nbytes < buffers.OUT_OF_BAND:
            return True
        self.views.append(view)
        return False


def whole(obj: Any) -> bytes:
    """The pickle of `obj` in one piece, buffers inside; raises what the pickler raises."""
    pickler = Pickler(out_of_band=False)
    pickler.write(obj)
    return b"".join(pickler.chunks)
