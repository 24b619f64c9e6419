"""Clusters: starting engines, and finding clusters that run already.

`Cluster` embeds a controller in this process. `find` and `list_clusters` look for clusters of
this user on this host that have a name, or were started by ``oarlock start``. Those that look are
loaded when they are used: an embedded cluster without a name starts its engines sooner so.
"""

from typing import TYPE_CHECKING, Any

from ._engineset import EngineSet
from .cluster import Cluster

if TYPE_CHECKING:
    from .registry import (
        ClusterNotFoundError,
        ClusterRecord,
        ClusterRunningError,
        find,
        list_clusters,
    )

__all__ = [
    "Cluster",
    "ClusterNotFoundError",
    "ClusterRecord",
    "ClusterRunningError",
    "EngineSet",
    "find",
    "list_clusters",
]


def __getattr__(name: str) -> Any:
    """Load what looks for clusters at its first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import registry

    return getattr(registry, name)
