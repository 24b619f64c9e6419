"""Who starts the processes under load, waits for them with a deadline, and weighs them."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from dataclasses import asdict
from typing import Any

from . import trend
from .rig import EMBEDDED, ENGINES, START
from .steps import DEADLINE
from .weigh import Weight, weigh

#: Seconds for what the last step, or the end of a cluster, may take beyond the time of a round.
PATIENCE = 2 * DEADLINE


#: From the first large block that it frees on, glibc takes ever larger ones from the arenas of
#: threads, and keeps up to twice their size in each. That hides what would be a leak of ours.
STEADY = {"MALLOC_MMAP_THRESHOLD_": str(256 * 1024)}


class HungError(Exception):
    """Something did not end in time."""


class Rig:
    """A cluster under load and who loads it, seen from outside."""

    def __init__(self, kind: str, seed: int) -> None:
        """Start both. `kind` is ``embedded`` or ``standalone``."""
        self.kind = kind
        self.roles: dict[str, int] = {}
        self.readings: list[tuple[float, dict[str, Weight]]] = []
        self.told: dict[str, Any] = {"steps": 0, "tasks": 0, "harm": 0}
        self.failures: list[str] = []
        self._controller: subprocess.Popen[bytes] | None = None
        self._where = f"soak-{os.getpid()}"
        where, env = EMBEDDED, STEADY | os.environ
        if kind != EMBEDDED:
            where = self._where
            self._controller = self._start_controller()
        self._rig = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.soak.rig", where, str(seed)],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def _start_controller(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "oarlock", "start", "-n", str(ENGINES), "--restart"]
        command += ["--suspect-after", "1", "--lost-after", "2", "--cluster-id", self._where]
        return subprocess.Popen(command, env=STEADY | os.environ, stdout=subprocess.DEVNULL)

    def replace_controller(self) -> None:
        """Kill the controller, if it is a process of its own, and start another in its place."""
        if self._controller is not None:
            self._controller.kill()
            self._controller.wait()
            self._controller = self._start_controller()
            self.roles["standalone controller"] = self._controller.pid

    def begin(self) -> None:
        """Wait until it is ready for load."""
        told = self._hear(START + PATIENCE)
        if self._controller is None:
            self.roles["embedded controller and client"] = told["own"]
        else:
            self.roles["standalone controller"] = self._controller.pid
            self.roles["its client"] = told["own"]
        self.roles[f"engine of the {self.kind}"] = told["engine"]

    def load(self, seconds: float) -> None:
        """Let it work for so long."""
        assert self._rig.stdin is not None
        self._rig.stdin.write(f"{seconds}\n")

    def rest(self, seconds: float) -> None:
        """Wait until it has come to rest after having worked for so long."""
        self.told = self._hear(seconds + PATIENCE)
        self.failures += [f"{self.kind}: {failure}" for failure in self.told["failures"]]

    def weigh(self, at: float) -> None:
        """Weigh its processes; the time is in seconds since the beginning."""
        weights = {}
        for role, pid in self.roles.items():
            try:
                weights[role] = weigh(pid)
            except OSError as gone:
                raise HungError(f"{role}, process {pid}, is gone: {gone}") from gone
        self.readings.append((at, weights))

    def end(self) -> None:
        """Let both end."""
        assert self._rig.stdin is not None
        self._rig.stdin.close()
        self._await(self._rig)
        if self._controller is not None:
            self._controller.terminate()
            self._await(self._controller)

    def kill(self) -> None:
        """End what is left, whatever it does."""
        for process in (self._rig, self._controller):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
                if process is self._controller:
                    # Its engines wait for another to take its place.
                    stop = [sys.executable, "-m", "oarlock", "stop", self._where]
                    subprocess.run(stop, check=False, stdout=subprocess.DEVNULL)

    def slopes(self, role: str, since: float) -> dict[str, trend.Slope]:
        """What each thing that a role holds grows by, from some time on."""
        late = [(at, asdict(weights[role])) for at, weights in self.readings if at >= since]
        times = [at for at, _ in late]
        names = late[0][1] if late else ()
        return {name: trend.fit(times, [weight[name] for _, weight in late]) for name in names}

    def _await(self, process: subprocess.Popen[Any]) -> None:
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired as late:
            self._show_threads()
            raise HungError(f"{self.kind}: process {process.pid} does not end") from late
        if code:
            raise HungError(f"{self.kind}: process {process.pid} ended with {code}")

    def _hear(self, seconds: float) -> dict[str, Any]:
        assert self._rig.stdout is not None
        if not select.select([self._rig.stdout], [], [], seconds)[0]:
            self._show_threads()
            raise HungError(f"{self.kind}: no step ended for {seconds:.0f} s")
        line = self._rig.stdout.readline()
        if not line:
            raise HungError(f"{self.kind}: the process under load ended: {self._rig.wait()}")
        told: dict[str, Any] = json.loads(line)
        return told

    def _show_threads(self) -> None:
        """Have the threads of the process under load shown on its standard error."""
        if self._rig.poll() is None:
            self._rig.send_signal(signal.SIGUSR1)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._rig.wait(2)
