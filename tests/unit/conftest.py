"""Fixtures of the tests that need no engine process."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

_HERE = Path(__file__).parent


def _load_stand_in():
    spec = importlib.util.spec_from_file_location("stand_in", _HERE / "stand_in.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_load_stand_in().install()


@pytest.fixture
def user_namespace():
    """This process is an engine with an empty user namespace for the length of a test."""
    from oarlock import namespace

    space = {"__name__": "__main__"}
    namespace.install(space)
    yield space
    namespace.install(None)


@pytest.fixture
def interpreter(tmp_path):
    """Runs source as the ``__main__`` of an interpreter of its own, beside the others of a test."""

    def run(source):
        import oarlock

        path = [str(_HERE), str(Path(oarlock.__file__).resolve().parent.parent)]
        done = subprocess.run(
            [sys.executable, "-c", "import stand_in; stand_in.install()\n" + source],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
            check=False,
            capture_output=True,
            text=True,
            timeout=50,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run
