"""dask.distributed on a local cluster of single-threaded worker processes."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks.systems.base import WORKERS, System, Unsupported


class Dask(System):
    """As ``distributed.Client`` on a ``LocalCluster`` without the dashboard."""

    package = distribution = "distributed"
    pace = 0.06

    def start(self) -> None:
        from distributed import Client, LocalCluster

        self.cluster = LocalCluster(
            n_workers=WORKERS,
            threads_per_worker=1,
            dashboard_address=None,
            silence_logs=logging.ERROR,
            local_directory=os.environ.get("TMPDIR"),
        )
        self.client = Client(self.cluster)

    def close(self) -> None:
        self.client.close()
        self.cluster.close()

    def submit(self, f: Callable[..., Any], *args: Any) -> Any:
        return self.client.submit(f, *args, pure=False)

    def collect(self, pending: Sequence[Any]) -> list[Any]:
        return list(self.client.gather(list(pending)))

    def map_fine(self, f: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        return list(self.client.gather(self.client.map(f, items, pure=False)))

    def map_bulk(self, f: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        raise Unsupported("a task is made of each item, however many there are")

    def iterate(self, f: Callable[..., Any], items: Sequence[Any]) -> Iterator[Any]:
        for future in self.client.map(f, items, pure=False):
            yield future.result()

    def to_all(self, f: Callable[..., Any], value: Any) -> list[Any]:
        # Data of this size is meant to be scattered there, not to be an argument.
        there = self.client.scatter(value, broadcast=True, hash=False)
        workers = list(self.client.scheduler_info()["workers"])
        return self.collect(
            [self.client.submit(f, there, pure=False, workers=[worker]) for worker in workers]
        )
