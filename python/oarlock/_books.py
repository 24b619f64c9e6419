"""Which tasks a client or a view submitted, and what is still known of them.

A million tasks are one range here, not a million strings: msg_ids are made when somebody looks.
Nothing in this file holds a result; the mappings read the core's records at the moment of the look.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, overload

if TYPE_CHECKING:
    from oarlock import _oarlock
    from oarlock.client import Client
    from oarlock.metadata import Metadata

# A msg_id is 32 hex digits of the session, an underscore, and the task's number.
_NUMBER_AT: Final = 33
# Labelled ranges kept; the oldest go first.
_MAX_RANGES: Final = 65_536


def is_msg_id(text: str) -> bool:
    """Whether `text` has the form of a msg_id."""
    return len(text) > _NUMBER_AT and text[_NUMBER_AT - 1] == "_" and text[_NUMBER_AT:].isdigit()


class MsgIds(Sequence[str]):
    """A read-only sequence of msg_ids in order of submission, as it was when asked for.

    Compares equal to a list of the same ids.
    """

    __slots__ = ("_len", "_ranges", "_session")

    def __init__(self, session: str, ranges: Iterable[tuple[int, int]]) -> None:
        """Stand for the tasks of `session` numbered ``first`` to ``stop - 1`` in each range."""
        self._session = session
        self._ranges = [range(first, stop) for first, stop in ranges]
        self._len = sum(map(len, self._ranges))

    def __len__(self) -> int:
        """Number of tasks."""
        return self._len

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        """The msg_id at `index`, or a list of those in a slice."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._len))]
        at = index + self._len if index < 0 else index
        if not 0 <= at < self._len:
            raise IndexError(f"no task {index} in a history of {self._len}")
        # From the end: what people ask for is recent.
        base = self._len
        for numbers in reversed(self._ranges):
            base -= len(numbers)
            if at >= base:
                return f"{self._session}_{numbers[at - base]}"
        raise IndexError(index)

    def __iter__(self) -> Iterator[str]:
        """Yield the msg_ids, first submitted first."""
        for numbers in self._ranges:
            for number in numbers:
                yield f"{self._session}_{number}"

    def __contains__(self, msg_id: object) -> bool:
        """Whether this task is one of them; does not make the others' ids."""
        if not isinstance(msg_id, str) or not is_msg_id(msg_id):
            return False
        number = int(msg_id[_NUMBER_AT:])
        return msg_id.startswith(self._session) and any(number in r for r in self._ranges)

    def __eq__(self, other: object) -> bool:
        """Equal to any list or sequence of the same ids."""
        if isinstance(other, MsgIds | list | tuple):
            return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """The ids as a list, shortened in the middle when there are many."""
        if self._len <= 6:
            return repr(list(self))
        head, tail = self[:3], self[-2:]
        first, last = (", ".join(map(repr, ids)) for ids in (head, tail))
        return f"[{first}, ... {self._len - 5} more ..., {last}]"


class Labels:
    """The labels of the tasks that have one; the oldest are forgotten first."""

    __slots__ = ("_ranges",)

    def __init__(self) -> None:
        """Start empty."""
        self._ranges: deque[tuple[int, int, str]] = deque(maxlen=_MAX_RANGES)

    def add(self, first: int, count: int, label: str) -> None:
        """Label `count` tasks from number `first` on."""
        self._ranges.append((first, first + count, label))

    def of(self, msg_id: str) -> str | None:
        """The label of a task of this session, None when it has none."""
        number = int(msg_id[_NUMBER_AT:])
        found = (label for first, stop, label in tuple(self._ranges) if first <= number < stop)
        return next(found, None)


class _Known(Mapping[str, Any]):
    """What both mappings share: they cover the tasks the core still has records of.

    `within` narrows a mapping to the tasks of one view.
    """

    def __init__(self, client: "Client", within: Callable[[], MsgIds] | None = None) -> None:
        self._client = client
        self._within = within

    def _tasks(self, msg_id: str) -> "_oarlock.Tasks":
        tasks = (
            self._client._core.known(msg_id)
            if isinstance(msg_id, str) and is_msg_id(msg_id)
            else None
        )
        if tasks is None or (self._within is not None and msg_id not in self._within()):
            raise KeyError(f"no record of task {msg_id!r}: not submitted here, or purged")
        return tasks

    def __iter__(self) -> Iterator[str]:
        """Yield the msg_ids in order of submission."""
        known = self._client._core.known_ids()
        if self._within is None:
            return iter(known)
        ours = self._within()
        return (msg_id for msg_id in known if msg_id in ours)

    def __len__(self) -> int:
        """Number of tasks covered."""
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        """The kind of mapping and its size."""
        return f"<{type(self).__name__} of {len(self)} tasks>"


class KnownMetadata(_Known):
    """``msg_id -> Metadata`` of every task the client has a record of, live."""

    def __getitem__(self, msg_id: str) -> "Metadata":
        """The metadata of this task.

        Raises:
            KeyError: When there is no record of it.
        """
        from oarlock.metadata import Metadata

        client = self._client
        own = msg_id.startswith(client.session)
        return Metadata(self._tasks(msg_id), 0, client._link.labels.of(msg_id) if own else None)


class KnownResults(_Known):
    """``msg_id -> value`` of every finished task whose outcome nobody has claimed yet.

    The value of a failed task is its exception; that of a chunk of a map is the list of its items.
    An `AsyncResult` that has given its value keeps it and leaves this mapping.
    """

    def __getitem__(self, msg_id: str) -> Any:
        """The outcome of this task, unpickled anew at each look.

        Raises:
            KeyError: When it is unknown, unfinished or already claimed.
        """
        tasks = self._tasks(msg_id)
        if not tasks.ready():
            raise KeyError(f"task {msg_id!r} has not finished")
        if _claimed(tasks):
            raise KeyError(f"the result of task {msg_id!r} was already claimed by its AsyncResult")
        return peek(self._client._core, tasks)

    def __contains__(self, msg_id: object) -> bool:
        """Whether the outcome is there, without unpickling it."""
        try:
            tasks = self._tasks(msg_id)  # type: ignore[arg-type]
        except KeyError:
            return False
        return tasks.ready() and not _claimed(tasks)

    def __iter__(self) -> Iterator[str]:
        """Yield the msg_ids of the outcomes that are there."""
        return (msg_id for msg_id in super().__iter__() if msg_id in self)


def peek(core: "_oarlock.Client", tasks: "_oarlock.Tasks") -> Any:
    """The outcome of one finished task, which the core keeps; exceptions are given, not raised."""
    from oarlock._outcomes import Failed, Outcomes, Partial

    cell = Outcomes(core, tasks)._read(0)
    if isinstance(cell, Partial):
        return [item.error if isinstance(item, Failed) else item for item in cell.items]
    return cell.error if isinstance(cell, Failed) else cell


def _claimed(tasks: "_oarlock.Tasks") -> bool:
    """Whether the parts of this one finished task were released."""
    from oarlock import _oarlock

    carries_parts = (_oarlock.OK, _oarlock.ERROR, _oarlock.PARTIAL)
    return tasks.status(0) in carries_parts and tasks.parts(0) is None
