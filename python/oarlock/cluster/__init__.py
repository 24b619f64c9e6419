"""Clusters: starting engines, and finding clusters that run already.

`Cluster` embeds a controller in this process. `find` and `list_clusters` look for clusters of
this user on this host that have a name, or were started by ``oarlock start``.
"""

from ._engineset import EngineSet
from .cluster import Cluster
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
