"""Functions bound to a view: calling one runs it on engines."""

import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

from oarlock import partition
from oarlock.views.base import claim

if TYPE_CHECKING:
    from oarlock.views.base import View


class RemoteFunction:
    """A function whose calls run through a view, by `View.apply`.

    Attributes:
        view: The view used.
        func: The function.
        block: Whether a call waits; None for the view's flag at each call.
        flags: Further flags of the view for these calls.

    Example:
        >>> @rc[:].remote(block=True)
        ... def doubled(x):
        ...     return 2 * x
        >>> doubled(21)
        [42, 42]
    """

    def __init__(
        self, view: "View", f: Callable[..., Any], block: bool | None = None, **flags: Any
    ) -> None:
        """Bind `f` to `view`."""
        self.view = view
        self.func = f
        self.block = block
        self.flags = flags
        self.__name__ = getattr(f, "__name__", type(f).__name__)
        self.__doc__ = f"{type(self).__name__} wrapping:\n{getattr(f, '__doc__', None) or ''}"
        try:
            self.__signature__ = inspect.signature(f)
        except (TypeError, ValueError):
            pass  # a builtin without a signature, or a Reference

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function on the engines; the value when blocking, else an `AsyncResult`."""
        view = self._bound()
        result = view.apply_async(self.func, *args, **kwargs)
        return claim(result) if view.block else result

    def _bound(self) -> "View":
        flags = dict(self.flags)
        if self.block is not None:
            flags["block"] = self.block
        return self.view._flagged(flags) if flags else self.view

    def __repr__(self) -> str:
        """The function and the view."""
        return f"<{type(self).__name__} {self.__name__} on {self.view!r}>"


class ParallelFunction(RemoteFunction):
    """A function that is called once on each part of its arguments.

    Attributes:
        dist: ``'b'`` to cut in blocks, ``'r'`` round robin.
        chunksize: On a load-balanced view, items per part; None for one part per engine.
        ordered: Whether iterating over a result keeps the order.
        return_exceptions: Whether exceptions take the place of the values that failed.

    Example:
        >>> @rc[:].parallel(block=True)
        ... def doubled(part):
        ...     return [2 * x for x in part]
        >>> doubled(range(4))
        [0, 2, 4, 6]
    """

    def __init__(
        self,
        view: "View",
        f: Callable[..., Any],
        dist: str = "b",
        block: bool | None = None,
        chunksize: int | None = None,
        ordered: bool = True,
        return_exceptions: bool = False,
        **flags: Any,
    ) -> None:
        """Bind `f` to `view`.

        Raises:
            KeyError: For an unknown `dist`.
        """
        super().__init__(view, f, block, **flags)
        self.dist = dist
        self._partitioner = partition.partitioner(dist)
        self.ordered = ordered
        self.return_exceptions = return_exceptions
        self._balanced = "chunksize" in view.flag_names
        if chunksize is not None and not self._balanced:
            import warnings

            warnings.warn(
                "chunksize is ignored: a direct view makes one part per engine",
                UserWarning,
                stacklevel=2,
            )
            chunksize = None
        self.chunksize = chunksize

    def __call__(self, *sequences: Iterable[Any], **kwargs: Any) -> Any:
        """Call the function once on each part of `sequences`, which have the same length.

        Returns:
            When blocking, the joined parts: one list, tuple parts included, or one array; where
            the values are of another kind, a list with one entry per part. Else an
            `AsyncMapResult`. Without any item, an empty list in either case.

        Raises:
            TypeError: For keyword arguments, or without a sequence.
            ValueError: When the lengths differ.
        """
        if kwargs:
            raise TypeError(
                "a parallel function takes sequences only, no keyword arguments: "
                + ", ".join(kwargs)
            )
        if not sequences:
            raise TypeError("a parallel function needs at least one sequence")
        wholes = [partition.sliceable(seq) for seq in sequences]
        lengths = [len(whole) for whole in wholes]
        if len(set(lengths)) > 1:
            raise ValueError(f"all sequences must have the same length, not {lengths}")
        if lengths[0] == 0:
            return []
        view = self._bound()
        count = view._part_count(lengths[0], self.chunksize)
        parts = list(zip(*(self._partitioner.split(whole, count) for whole in wholes), strict=True))
        result = view._map_parts(
            self.func,
            parts,
            self._partitioner.join,
            ordered=self.ordered,
            return_exceptions=self.return_exceptions,
        )
        return claim(result) if view.block else result

    def map(self, *sequences: Iterable[Any]) -> Any:
        """Call the function for each item, like builtin ``map``, still one task per part.

        Returns:
            A list when blocking, else an `AsyncMapResult`. The shortest sequence decides; without
            any item, an empty list in either case.
        """
        if not sequences:
            raise TypeError("map needs at least one sequence")
        wholes = [partition.sliceable(seq) for seq in sequences]
        n = min(map(len, wholes))
        if n == 0:
            return []
        view = self._bound()
        options: dict[str, Any] = {"return_exceptions": self.return_exceptions}
        if self._balanced:
            options["ordered"] = self.ordered
            options["chunksize"] = self.chunksize or -(-n // view._part_count(n, None))
        result = cast("Any", view).map_async(self.func, *wholes, **options)
        return claim(result) if view.block else result


def remote(
    view: "View", block: bool | None = None, **flags: Any
) -> Callable[[Callable[..., Any]], RemoteFunction]:
    """Decorator that makes a `RemoteFunction`.

    Args:
        view: Where calls run.
        block: Whether a call waits; None for the view's flag at each call.
        **flags: Further flags of the view for these calls.

    Example:
        >>> remote(rc[0], block=True)(abs)(-1)
        1
    """

    def bind(f: Callable[..., Any]) -> RemoteFunction:
        return RemoteFunction(view, f, block=block, **flags)

    return bind


def parallel(
    view: "View", dist: str = "b", block: bool | None = None, ordered: bool = True, **flags: Any
) -> Callable[[Callable[..., Any]], ParallelFunction]:
    """Decorator that makes a `ParallelFunction`.

    Args:
        view: Where calls run.
        dist: ``'b'`` to cut arguments in blocks, ``'r'`` round robin.
        block: Whether a call waits; None for the view's flag at each call.
        ordered: Whether iterating over a result keeps the order.
        **flags: ``chunksize``, ``return_exceptions``, and further flags of the view.

    Example:
        >>> parallel(rc[:], block=True)(sorted)([3, 1, 4, 2])
        [1, 3, 2, 4]
    """
    options = {
        name: flags.pop(name) for name in ("chunksize", "return_exceptions") if name in flags
    }

    def bind(f: Callable[..., Any]) -> ParallelFunction:
        return ParallelFunction(
            view, f, dist=dist, block=block, ordered=ordered, **options, **flags
        )

    return bind
