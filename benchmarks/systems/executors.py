"""What has the interface of `concurrent.futures.Executor`."""

from __future__ import annotations

import os
import platform
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks.systems.base import WORKERS, System


class _Executor(System):
    executor: Any

    @abstractmethod
    def make(self) -> Any:
        """The executor itself."""

    def start(self) -> None:
        self.executor = self.make()

    def close(self) -> None:
        self.executor.shutdown(wait=True, cancel_futures=True)

    def submit(self, f: Callable[..., Any], *args: Any) -> Any:
        return self.executor.submit(f, *args)

    def collect(self, pending: Sequence[Any]) -> list[Any]:
        return [future.result() for future in pending]

    def map_fine(self, f: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        return list(self.executor.map(f, items, chunksize=1))

    def map_bulk(self, f: Callable[..., Any], items: Sequence[Any]) -> list[Any]:
        # An executor does not choose chunks; this is how many Pool would make.
        return list(self.executor.map(f, items, chunksize=-(-len(items) // (4 * WORKERS))))

    def iterate(self, f: Callable[..., Any], items: Sequence[Any]) -> Iterator[Any]:
        values: Iterator[Any] = self.executor.map(f, items)
        return values


class ProcessPool(_Executor):
    """`concurrent.futures.ProcessPoolExecutor` with the start method that Python chooses."""

    package = "concurrent.futures"
    pace = 0.5

    def version(self) -> str:
        return platform.python_version()

    def make(self) -> Any:
        from concurrent.futures import ProcessPoolExecutor

        return ProcessPoolExecutor(WORKERS)


class Loky(_Executor):
    """loky's reusable executor, which joblib uses."""

    package = distribution = "loky"
    pace = 0.5

    def make(self) -> Any:
        import loky

        return loky.get_reusable_executor(WORKERS, timeout=3600)

    def close(self) -> None:
        self.executor.shutdown(wait=True, kill_workers=True)


class Mpi(_Executor):
    """mpi4py's executor, its workers spawned by the MPI library."""

    package = "mpi4py"
    distribution = "mpi4py"
    pace = 0.2

    def make(self) -> Any:
        # The launcher counts cores, and the user, differently from what is compared here.
        for name in ("OMPI_ALLOW_RUN_AS_ROOT", "PRTE_ALLOW_RUN_AS_ROOT"):
            os.environ |= {name: "1", f"{name}_CONFIRM": "1"}
        for name in ("OMPI", "PRTE"):
            os.environ[f"{name}_MCA_rmaps_default_mapping_policy"] = ":oversubscribe"
        from mpi4py.futures import MPIPoolExecutor

        return MPIPoolExecutor(WORKERS)
