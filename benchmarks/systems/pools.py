"""`multiprocessing.Pool`, which the others are compared with."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks.systems.base import WORKERS, System


class Pool(System):
    """With the start method that Python chooses."""

    package = "multiprocessing"

    def version(self) -> str:
        return platform.python_version()

    def start(self) -> None:
        import multiprocessing

        self.pool = multiprocessing.Pool(WORKERS)

    def close(self) -> None:
        self.pool.terminate()
        self.pool.join()

    def submit(self, f: Callable[..., Any], *args: Any) -> Any:
        return self.pool.apply_async(f, args)

    def collect(self, pending: Sequence[Any]) -> list[Any]:
        return [result.get() for result in pending]

    def map_fine(self, f: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        return self.pool.map(f, items, chunksize=1)

    def map_bulk(self, f: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        return self.pool.map(f, items)

    def iterate(self, f: Callable[..., Any], items: Sequence[Any]) -> Iterator[Any]:
        return self.pool.imap(f, items)

    iterate_lazily = iterate
