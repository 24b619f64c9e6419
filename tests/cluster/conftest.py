"""Fixtures for tests on a cluster: tasks that a test holds, scripts."""

import os
import select
import subprocess
import sys
import time

import pytest

# Seconds for what takes milliseconds; only a fault uses them up.
PATIENCE = 20.0


class Gate:
    """Makes tasks that tell when they have begun and go on when the test says so."""

    def __init__(self, directory):
        self._began, self._go = (str(directory / name) for name in ("began", "go"))
        os.mkfifo(self._began)
        os.mkfifo(self._go)
        # Open for both, so that no side ever waits for the other to open.
        self._began_file, self._go_file = (
            os.open(path, os.O_RDWR | os.O_NONBLOCK) for path in (self._began, self._go)
        )

    @property
    def hold(self):
        """A function for tasks: tells that it has begun, waits, and returns its argument."""
        began, go = self._began, self._go

        def hold(value=None):
            import os

            file = os.open(began, os.O_WRONLY)
            os.write(file, b".")
            os.close(file)
            file = os.open(go, os.O_RDONLY)
            try:
                os.read(file, 1)
            finally:
                os.close(file)
            return value

        return hold

    def wait_begun(self, count=1):
        """Wait until so many held tasks (more) have begun."""
        deadline = time.monotonic() + PATIENCE
        while count:
            left = max(0.0, deadline - time.monotonic())
            assert select.select([self._began_file], [], [], left)[0], f"{count} never began"
            count -= len(os.read(self._began_file, count))

    def begun(self):
        """Whether a task has begun that nobody waited for."""
        return bool(select.select([self._began_file], [], [], 0)[0])

    def release(self, count=1):
        """Let so many tasks go on, held now or later."""
        os.write(self._go_file, b"." * count)

    def close(self):
        self.release(1000)
        for path, file in ((self._began, self._began_file), (self._go, self._go_file)):
            os.unlink(path)
            os.close(file)


@pytest.fixture
def gate(tmp_path):
    """A `Gate`; whoever is still held at the end of the test goes on."""
    made = Gate(tmp_path)
    yield made
    made.close()


@pytest.fixture
def script(tmp_path, leaks):
    """Runs source as a script of its own; gives what it printed, and fails if it failed."""

    def run(source):
        path = tmp_path / "script.py"
        path.write_text(source)
        done = subprocess.run(
            [sys.executable, "-W", "error", path],
            capture_output=True,
            text=True,
            timeout=50,
            cwd=tmp_path,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run


@pytest.fixture
def other(rc):
    """A second client of the shared cluster, connected from outside as another process would."""
    import oarlock

    with oarlock.Client(directory=rc.cluster.directory) as client:
        yield client
        assert client.wait(timeout=20)
