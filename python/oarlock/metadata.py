"""The record of one task, read from the core at the moment somebody looks.

A `Metadata` holds no copy: while the task runs, its stamps, engine and output appear as they become
known. Nothing is stored but what was assigned by hand.
"""

import re
from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from oarlock import _oarlock

# Text up to a carriage return that more text of the line follows: a terminal would overwrite it.
_OVERWRITTEN: Final = re.compile(r"[^\n]*\r(?=[^\r\n])")

# What `_oarlock.Tasks.status` gives, in words. An index is a status.
STATUS: Final = (None, "ok", "error", "error", "aborted", "error", "error", "error")

_READ: Final[dict[str, Callable[["_oarlock.Tasks", int], Any]]] = {
    "msg_id": lambda tasks, i: tasks.pick([i]).msg_ids()[0],
    "submitted": lambda tasks, i: tasks.stamps(i)[0],
    "started": lambda tasks, i: tasks.stamps(i)[1],
    "completed": lambda tasks, i: tasks.stamps(i)[2],
    "received": lambda tasks, i: tasks.stamps(i)[3],
    "engine_id": lambda tasks, i: tasks.engine(i),
    "engine_uuid": lambda tasks, i: tasks.engine_session(i),
    "status": lambda tasks, i: STATUS[tasks.status(i)],
    "stdout": lambda tasks, i: plain(tasks.output(i, 1)),
    "stderr": lambda tasks, i: plain(tasks.output(i, 2)),
}
# Kept by the record itself, made when first looked at.
_OWN: Final[dict[str, Callable[[], Any]]] = {
    "follow": list, "after": list, "label": lambda: None, "execute_input": lambda: None,
    "execute_result": lambda: None, "outputs": list, "data": dict,
}  # fmt: skip

KEYS: Final = (
    "msg_id", "submitted", "started", "completed", "received", "engine_uuid", "engine_id",
    "follow", "after", "status", "execute_input", "execute_result", "error", "stdout", "stderr",
    "outputs", "data", "label",
)  # fmt: skip


def plain(text: str) -> str:
    """Give output as a terminal would show it: a carriage return goes back to the line's start."""
    return _OVERWRITTEN.sub("", text.replace("\r\n", "\n")) if "\r" in text else text


class Metadata(dict[str, Any]):
    """What is known of one task, by item and by attribute.

    The set of keys is closed. The four stamps are aware datetimes in UTC: `submitted` and
    `received` by the client's clock, `started` and `completed` by the engine's. `received` is
    stamped when the outcome arrives, whatever the program does at that time.

    Args:
        tasks: a set of tasks.
        index: which of them.
        label: the label given when it was submitted.
        failure: gives the task's exception, None if it has none; None where nobody can tell.

    Example:
        >>> result = lview.apply_async(abs, -1)
        >>> result.get()
        1
        >>> result.metadata.engine_id in rc.ids
        True
        >>> result.metadata["started"] <= result.metadata["completed"]
        True
    """

    __slots__ = ("_failure", "_index", "_tasks")

    def __init__(
        self,
        tasks: "_oarlock.Tasks",
        index: int,
        label: str | None = None,
        failure: Callable[[int], BaseException | None] | None = None,
    ) -> None:
        super().__init__()
        put = object.__setattr__
        put(self, "_tasks", tasks)
        put(self, "_index", index)
        put(self, "_failure", failure)
        if label is not None:
            dict.__setitem__(self, "label", label)

    # --- reading

    def __getitem__(self, key: str) -> Any:
        """Give the value known now.

        Raises:
            KeyError: for a name that is no key.
        """
        if dict.__contains__(self, key):
            return dict.__getitem__(self, key)
        read = _READ.get(key)
        if read is not None:
            return read(self._tasks, self._index)
        if key == "error":
            return self._error()
        make = _OWN.get(key)
        if make is None:
            raise KeyError(key)
        return dict.setdefault(self, key, make())

    def _error(self) -> BaseException | None:
        if self["status"] in (None, "ok") or self._failure is None:
            return None
        failure: BaseException | None = self._failure(self._index)
        return failure

    def __getattr__(self, name: str) -> Any:
        if name in KEYS:
            return self[name]
        raise AttributeError(f"metadata has no key {name!r}; the keys are {', '.join(KEYS)}")

    def __iter__(self) -> Iterator[str]:
        return iter(KEYS)

    def __len__(self) -> int:
        return len(KEYS)

    def __contains__(self, key: object) -> bool:
        return key in KEYS

    def __eq__(self, other: object) -> bool:
        return dict(self) == (dict(other) if isinstance(other, Metadata) else other)

    __hash__ = None

    def __repr__(self) -> str:
        return repr(dict(self))

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *KEYS]

    def get(self, key: str, default: Any = None) -> Any:
        """Give the value known now, `default` for a name that is no key."""
        return self[key] if key in KEYS else default

    def keys(self) -> KeysView[str]:  # type: ignore[override]
        """The names, always the same."""
        return KeysView(self)

    def values(self) -> ValuesView[Any]:  # type: ignore[override]
        """The values known now."""
        return ValuesView(self)

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        """Names and the values known now."""
        return ItemsView(self)

    def copy(self) -> dict[str, Any]:
        """Give a plain dict of what is known now."""
        return dict(self)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return dict, (dict(self),)

    # --- writing

    def __setitem__(self, key: str, value: Any) -> None:
        """Put a value in place of what the core says.

        Raises:
            KeyError: for a name that is no key.
        """
        if key not in KEYS:
            raise KeyError(key)
        dict.__setitem__(self, key, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in KEYS:
            raise AttributeError(f"metadata has no key {name!r}")
        self[name] = value

    def __delitem__(self, key: str) -> NoReturn:
        raise TypeError("the keys of metadata cannot be removed")

    clear = pop = popitem = __delitem__  # type: ignore[assignment]

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Give the value: every key is there."""
        return self[key]

    def update(self, *args: Any, **values: Any) -> None:
        """Assign several.

        Raises:
            KeyError: for a name that is no key; nothing is assigned then.
        """
        new = dict(*args, **values)
        for key in new:
            if key not in KEYS:
                raise KeyError(key)
        dict.update(self, new)
