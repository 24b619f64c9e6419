"""oarlock with its controller in this process, and with the controller in one of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.systems.base import WORKERS, System

if TYPE_CHECKING:
    import oarlock


class _Oarlock(System):
    package = "oarlock"

    client: oarlock.Client

    def version(self) -> str:
        import oarlock

        return oarlock.__version__

    def use(self, client: oarlock.Client) -> None:
        """Make the views that the calls go through."""
        self.client = client
        self.direct = client[:]
        self.balanced = client.load_balanced_view()

    def submit(self, f: Callable[..., Any], *args: Any) -> Any:
        return self.balanced.apply_async(f, *args)

    def collect(self, pending: Sequence[Any]) -> list[Any]:
        return [result.get() for result in pending]

    def call(self, f: Callable[..., Any], *args: Any) -> Any:
        return self.balanced.apply_sync(f, *args)

    def map_fine(self, f: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        values: list[Any] = self.balanced.map_sync(f, items, chunksize=1)
        return values

    def map_bulk(self, f: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        values: list[Any] = self.direct.map_sync(f, items)
        return values

    def iterate(self, f: Callable[..., Any], items: Sequence[Any]) -> Iterator[Any]:
        return iter(self.balanced.map_async(f, items))

    def iterate_lazily(self, f: Callable[..., Any], items: Sequence[Any]) -> Iterator[Any]:
        return self.balanced.imap(f, items)

    def to_all(self, f: Callable[..., Any], value: Any) -> list[Any]:
        values: list[Any] = self.direct.apply_sync(f, value)
        return values


class Embedded(_Oarlock):
    """As ``with oarlock.Cluster(n=2)`` gives it."""

    def start(self) -> None:
        import oarlock

        self.cluster = oarlock.Cluster(n=WORKERS)
        self.use(self.cluster.start_and_connect_sync())

    def close(self) -> None:
        self.client.close()
        self.cluster.stop_cluster_sync()


class Standalone(_Oarlock):
    """As ``oarlock start`` and ``oarlock.Client()`` give it."""

    _name = "benchmark"

    def start(self) -> None:
        import oarlock

        self._command("start", "-n", str(WORKERS), "--daemonize", "--cluster-id", self._name)
        self.use(oarlock.Client(cluster_id=self._name))

    def close(self) -> None:
        self.client.close()
        self._command("stop", self._name)

    @staticmethod
    def _command(*words: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "oarlock", *words], check=True, stdout=subprocess.DEVNULL
        )
