"""A cluster that is reached over a network, for the tests of that: real processes over loopback."""

import json
import subprocess
import sys

import oarlock

from . import standalone

NAME = "linked"
PATIENCE = 30


def port_of(file):
    """The port of the gate of which a connection file tells."""
    with open(file) as card:
        return int(json.load(card)["endpoints"][0].rsplit(":", 1)[1])


def connections(pid, port):
    """Connections that are established at a port, in the network in which a process lives."""
    with open(f"/proc/{pid}/net/tcp") as lines:
        rows = [line.split()[1:4] for line in lines]
    ours = f":{port:04X}"
    return sum(local.endswith(ours) and state == "01" for local, _, state in rows[1:])


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
        self.record = standalone.start(NAME, *self.options)
        self.processes = []

    def start_again(self):
        self.record = standalone.start(NAME, *self.options)

    def engine(self):
        command = [sys.executable, "-m", "oarlock", "engine", "--connection-file", self.file]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        self.processes.append(process)
        return process

    @property
    def port(self):
        return port_of(self.file)

    def connections(self):
        """Connections that the gate has, as the kernel knows them."""
        return connections(self.record.pid, self.port)

    def client(self, **options):
        return oarlock.Client(self.file, **options)

    def end(self):
        standalone.stop_all()
        for process in self.processes:
            try:
                process.wait(PATIENCE)
            finally:
                process.kill()
                process.wait()
