"""ipyparallel: its load-balanced view for single tasks, its direct view for the rest."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks.systems.base import WORKERS, System


class IPyParallel(System):
    """Engines and controller as its `Cluster` starts them."""

    package = distribution = "ipyparallel"
    pace = 0.03

    def start(self) -> None:
        import ipyparallel

        self.cluster = ipyparallel.Cluster(n=WORKERS, log_level=logging.ERROR)
        self.client = self.cluster.start_and_connect_sync()
        self.direct = self.client[:]
        self.balanced = self.client.load_balanced_view()

    def close(self) -> None:
        self.client.close()
        self.cluster.stop_cluster_sync()

    def submit(self, f: Callable[..., Any], *args: Any) -> Any:
        return self.balanced.apply_async(f, *args)

    def collect(self, pending: Sequence[Any]) -> list[Any]:
        return [result.get() for result in pending]

    def map_fine(self, f: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        return list(self.balanced.map_sync(f, items, chunksize=1))

    def map_bulk(self, f: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        return list(self.direct.map_sync(f, items))

    def iterate(self, f: Callable[..., Any], items: Sequence[Any]) -> Iterator[Any]:
        return iter(self.balanced.map_async(f, items))

    def to_all(self, f: Callable[..., Any], value: Any) -> list[Any]:
        return list(self.direct.apply_sync(f, value))
