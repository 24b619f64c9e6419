"""A standalone cluster with a store, which is killed and started again, for tests."""

import collections
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import oarlock
from oarlock.cluster import registry

from .standalone import kill, run, stop_all
from .waiting import wait_until

NAME = "kept"
PATIENCE = 30


class Kept:
    """A standalone cluster with a store, which is killed and started again."""

    def __init__(self, directory, wait_exit):
        self.directory = directory
        self.store = directory / "store"
        self._wait_exit = wait_exit
        self._clients = []

    def start(self, *options):
        """Start it, or start it again; gives its record."""
        done = self.try_start(*options)
        assert done.returncode == 0, done.stderr
        (self.record,) = registry.list_clusters()
        return self.record

    def try_start(self, *options, name=NAME):
        start = ("start", "-n", "2", "--daemonize", "--cluster-id", name)
        return run(*start, "--store", str(self.store), *options)

    def stop(self):
        """Stop it in order."""
        done = run("stop", NAME)
        assert done.returncode == 0, done.stderr

    def kill(self):
        """Kill the controller, and wait until nobody holds its place."""
        kill(self.record, self._wait_exit)

    def kill_engines(self, pids):
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            assert self._wait_exit(pid, PATIENCE)

    def connect(self, **options):
        return oarlock.Client(cluster_id=NAME, **options)

    def submit_elsewhere(self, source):
        """Another process submits; gives it when it has done so, and the message ids."""
        ids = self.directory / f"ids-{len(self._clients)}"
        script = (
            f"import json, os, signal, oarlock\nrc = oarlock.Client(cluster_id={NAME!r})\n"
            f"lview = rc.load_balanced_view()\n{source}\n"
            "assert ar.wait_for_send()\n"
            f"json.dump(ar.msg_ids, open('{ids}.new', 'w'))\nos.rename('{ids}.new', '{ids}')\n"
            "signal.pause()\n"
        )
        process = subprocess.Popen([sys.executable, "-c", script])
        self._clients.append(process)
        wait_until(ids.exists, "it does not submit")
        return process, json.loads(ids.read_text())

    def kill_clients(self):
        for client in self._clients:
            client.kill()
            client.wait()

    @property
    def log(self):
        """What the controller wrote."""
        return Path(self.record.log_directory, "controller.log").read_text()

    def size(self):
        """Bytes of the files of the journal."""
        size = 0
        for file in self.store.glob("*.journal"):
            with contextlib.suppress(FileNotFoundError):  # it is removed when it is empty
                size += file.stat().st_size
        return size

    def close(self):
        """End all that is left of it."""
        self.kill_clients()
        stop_all()


class Marks:
    """Where tasks write down that they run; `source` defines `mark` in a client."""

    def __init__(self, directory):
        self._path = directory / "marks"
        self._path.touch()
        self.source = (
            f"def mark(item, path={str(self._path)!r}):\n"
            "    import os, time\n"
            "    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)\n"
            "    os.write(file, f'{item}\\n'.encode())\n"
            "    os.close(file)\n"
            "    time.sleep(0.0005)\n"
            "    return -item\n"
        )

    def function(self):
        """The same for a client of this process."""
        space = {}
        exec(self.source, space)
        return space["mark"]

    def counts(self):
        return collections.Counter(map(int, self._path.read_text().split()))

    def __len__(self):
        return self._path.read_text().count("\n")
