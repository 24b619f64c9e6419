"""From what a user gives a client to the place of its cluster."""

import os
from collections.abc import Mapping
from typing import Any


def place_of(given: Any, cluster_id: str) -> str:
    """Say where the cluster is that is meant: its directory, or its connection file.

    Args:
        given: What `Client` was given; None to look for `cluster_id`.
        cluster_id: The cluster's name.

    Raises:
        FileNotFoundError: When there is none; says how to start one.
        ValueError: For what is no place of a cluster.
    """
    if given is None:
        from oarlock.cluster import find

        return find(cluster_id)
    if isinstance(given, Mapping):
        if "directory" not in given:
            raise ValueError("connection_info needs the key 'directory': where the cluster runs")
        given = given["directory"]
    path = os.fspath(given)
    if "://" in path:
        raise ValueError(f"connection_info is the directory of a cluster, not a URL like {path!r}")
    if _is_connection_file(path):
        return str(path)
    directory = path if os.path.isdir(path) else os.path.dirname(path) or "."
    # A running controller's directory holds this file, which only its user may read.
    if not os.path.exists(path) or not os.path.exists(os.path.join(directory, "connection")):
        from oarlock.cluster import list_clusters

        found = "no controller's files there" if os.path.exists(path) else "no such directory"
        named = any(record.cluster_id == path for record in list_clusters())
        hint = (
            f"did you mean oarlock.Client(cluster_id={path!r})?"
            if named
            else "start one with `oarlock start -n 4`"
        )
        raise FileNotFoundError(f"no cluster runs in {path!r}: there is {found}\n\nhint: {hint}")
    return directory


def _is_connection_file(path: str) -> bool:
    """Whether this file tells of a cluster elsewhere, unlike others in a cluster's directory."""
    try:
        with open(path, "rb") as file:
            return b'"oarlock"' in file.read(32)
    except OSError:
        return False
