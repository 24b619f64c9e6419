"""Where clusters live, how others find them, and what one is told who finds none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import oarlock
from oarlock.cluster import ClusterNotFoundError, ClusterRunningError, registry


def test_a_cluster_with_an_id_is_found_by_it_and_claims_it(new_client):
    rc = new_client(1, cluster_id="lab")
    assert "cluster_id='lab'" in repr(rc.cluster)
    with oarlock.Client(cluster_id="lab") as other:
        assert other.ids == [0]
    with pytest.raises(ClusterRunningError, match=f"process {os.getpid()}"):
        oarlock.Cluster(n=1, cluster_id="lab").start_cluster_sync()
    rc.cluster.stop_cluster_sync()
    with pytest.raises(ClusterNotFoundError):
        oarlock.Client(cluster_id="lab")
    assert registry.list_clusters() == []


def test_a_client_finds_no_cluster_and_says_how_to_start_one():
    with pytest.raises(FileNotFoundError) as caught:
        oarlock.Client()
    text = str(caught.value)
    assert "no cluster 'default' runs on this host" in text
    assert "oarlock start -n 4" in text
    assert "with oarlock.Cluster(n=4) as rc:" in text
    with pytest.raises(FileNotFoundError, match="oarlock start -n 4 --cluster-id lab"):
        oarlock.Client(cluster_id="lab")


@pytest.mark.parametrize("where", ["/nowhere/at/all", {"directory": "/nowhere/at/all"}])
def test_a_client_of_a_directory_that_is_not_there_says_so(where):
    with pytest.raises(FileNotFoundError, match="no such directory"):
        oarlock.Client(where)


def test_a_client_of_a_directory_without_a_cluster_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"no cluster runs in '{tmp_path}'.*"):
        oarlock.Client(tmp_path)


def test_an_id_that_is_no_name_and_an_id_with_a_directory_are_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot be the id"):
        oarlock.Cluster(n=1, cluster_id="a/b")
    with pytest.raises(ValueError, match="give no directory"):
        oarlock.Cluster(n=1, cluster_id="lab", directory=tmp_path)


def test_a_cluster_lives_where_it_is_told_to(runtime_directory, leaks):
    place = runtime_directory / "mine"
    place.mkdir(mode=0o700)
    try:
        with oarlock.Cluster(n=1, directory=place) as rc:
            assert Path(rc.cluster.directory).parent == place
            assert rc[:].apply_sync(abs, -1) == [1]
        assert list(place.iterdir()) == []
    finally:
        place.rmdir()
