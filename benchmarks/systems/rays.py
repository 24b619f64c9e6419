"""ray: remote functions, and its own Pool where chunks are wanted."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks.systems.base import WORKERS, System


class Ray(System):
    """A local instance without the dashboard."""

    package = distribution = "ray"
    pace = 0.1

    def start(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray

        self.ray = ray
        self._remotes: dict[Any, Any] = {}
        self._pool: Any = None
        ray.init(
            num_cpus=WORKERS,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=2 << 30,
            _temp_dir=os.path.join(os.environ.get("TMPDIR", "/tmp"), "ray"),
        )

    def close(self) -> None:
        self.ray.shutdown()

    def _remote(self, f: Callable[..., Any]) -> Any:
        """`f` as a remote function, declared once as a program would."""
        if f not in self._remotes:
            self._remotes[f] = self.ray.remote(_named(f))
        return self._remotes[f]

    def submit(self, f: Callable[..., Any], *args: Any) -> Any:
        return self._remote(f).remote(*args)

    def collect(self, pending: Sequence[Any]) -> list[Any]:
        return list(self.ray.get(list(pending)))

    def map_fine(self, f: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        remote = self._remote(f)
        return list(self.ray.get([remote.remote(item) for item in items]))

    def map_bulk(self, f: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        if self._pool is None:
            from ray.util.multiprocessing import Pool

            self._pool = Pool(WORKERS)
        return list(self._pool.map(f, items))

    def iterate(self, f: Callable[..., Any], items: Sequence[Any]) -> Iterator[Any]:
        remote = self._remote(f)
        for pending in [remote.remote(item) for item in items]:
            yield self.ray.get(pending)

    def to_all(self, f: Callable[..., Any], value: Any) -> list[Any]:
        there = self.ray.put(value)
        return self.collect([self.submit(f, there) for _ in range(WORKERS)])


def _named(f: Callable[..., Any]) -> Callable[..., Any]:
    """`f` as what ray accepts: a function, where a partial has to be wrapped."""
    if hasattr(f, "__code__"):
        return f

    def call(*args: Any) -> Any:
        return f(*args)

    return call
