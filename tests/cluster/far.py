"""A cluster that is reached over a network, for the tests of that: real processes over loopback."""

import json
import subprocess
import sys

import oarlock
from oarlock.cluster import registry

NAME = "linked"
PATIENCE = 30
START = [sys.executable, "-m", "oarlock", "start", "--daemonize", "--cluster-id", NAME]


def start(*options):
    command = [*START, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    (record,) = registry.list_clusters()
    return record


class Far:
    """A standalone cluster with one engine of its own, and engines that come through the gate."""

    def __init__(self, directory, *options, engines=1):
        self.file = str(directory / "far.json")
        self.options = [
            "-n",
            f"{engines}",
            "--listen",
            "127.0.0.1:0",
            "--connection-file",
            self.file,
        ]
        self.options += options
        self.record = start(*self.options)
        self.processes = []

    def start_again(self):
        self.record = start(*self.options)

    def engine(self):
        command = [sys.executable, "-m", "oarlock", "engine", "--connection-file", self.file]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        self.processes.append(process)
        return process

    @property
    def port(self):
        with open(self.file) as file:
            return int(json.load(file)["endpoints"][0].rsplit(":", 1)[1])

    def connections(self):
        """Connections that the gate has, as the kernel knows them."""
        with open("/proc/net/tcp") as lines:
            rows = [line.split()[1:4] for line in lines]
        ours = f":{self.port:04X}"
        return sum(local.endswith(ours) and state == "01" for local, _, state in rows[1:])

    def client(self, **options):
        return oarlock.Client(self.file, **options)

    def end(self):
        for left in [*registry.list_clusters(), *registry.list_headless()]:
            stop = [sys.executable, "-m", "oarlock", "stop", left.cluster_id]
            subprocess.run(stop, capture_output=True, timeout=60, check=False)
        for process in self.processes:
            try:
                process.wait(PATIENCE)
            finally:
                process.kill()
                process.wait()
