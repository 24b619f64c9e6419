"""Standalone clusters for tests: started, killed and stopped as a user does."""

import os
import signal
import subprocess
import sys

from oarlock.cluster import registry

from .waiting import PATIENCE

OARLOCK = (sys.executable, "-m", "oarlock")


def run(*arguments):
    """The command line, until it is done."""
    command = [*OARLOCK, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def start(name, *options):
    """Start a cluster, or start it again; gives its record."""
    done = run("start", "--daemonize", "--cluster-id", name, *options)
    assert done.returncode == 0, done.stderr
    (record,) = registry.list_clusters()
    return record


def kill(record, wait_exit):
    """Kill the controller, and wait until nobody holds its place."""
    os.kill(record.pid, signal.SIGKILL)
    assert wait_exit(record.pid, PATIENCE)


def stop_all():
    """Stop every cluster, also one whose controller was killed."""
    for left in [*registry.list_clusters(), *registry.list_headless()]:
        run("stop", left.cluster_id)
