"""What a case may ask of a system."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from typing import Any, ClassVar, Final

from benchmarks import tasks

WORKERS: Final = 2


class Unsupported(Exception):
    """The system has no such operation; the table shows a dash."""


class System(ABC):
    """A running set of workers behind the interface its users would use.

    Attributes:
        name: What it is called in the tables.
        package: What must be importable.
        distribution: What is asked for its version.
        pace: The share of a case's items that this system is given. Rates do not depend on it;
            it keeps slow systems within the time limit.
    """

    name: str
    package: ClassVar[str]
    distribution: ClassVar[str]
    pace: ClassVar[float] = 1.0

    def version(self) -> str:
        """Which version is measured."""
        return metadata.version(self.distribution)

    @abstractmethod
    def start(self) -> None:
        """Start the workers; they may still be starting when this returns."""

    @abstractmethod
    def close(self) -> None:
        """End the workers."""

    @abstractmethod
    def submit(self, f: Callable[..., Any], *args: Any) -> Any:
        """Send one call; returns what `collect` takes."""

    @abstractmethod
    def collect(self, pending: Sequence[Any]) -> list[Any]:
        """The values of submitted calls, in order."""

    @abstractmethod
    def map_fine(self, f: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        """Map with one task per item."""

    @abstractmethod
    def map_bulk(self, f: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        """Map with the chunks the system chooses when it is not told."""

    @abstractmethod
    def iterate(self, f: Callable[..., Any], items: Sequence[Any]) -> Iterator[Any]:
        """Values of a map with one task per item, in order, as early as the system gives them."""

    def iterate_lazily(self, f: Callable[..., Any], items: Sequence[Any]) -> Iterator[Any]:
        """The same, where items are read no faster than values are taken or tasks sent."""
        raise Unsupported

    def call(self, f: Callable[..., Any], *args: Any) -> Any:
        """One call, waited for."""
        return self.collect([self.submit(f, *args)])[0]

    def to_all(self, f: Callable[..., Any], value: Any) -> list[Any]:
        """Call `f` with a large `value` once per worker."""
        return self.collect([self.submit(f, value) for _ in range(WORKERS)])

    def warm_up(self) -> None:
        """Wait until every worker has run something."""
        self.collect([self.submit(tasks.nap, 0.01) for _ in range(4 * WORKERS)])
