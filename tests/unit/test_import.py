"""`import oarlock` is quick and light, and its names mean what they say however they are reached.

Time is not measured here: what makes an import slow is what it loads, and that can be counted.
"""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

import oarlock

# What takes long to load, or may not be there at all.
NEVER_LOADED = {
    "asyncio", "multiprocessing", "numpy", "pandas", "IPython", "ipywidgets", "tqdm", "rich", "zmq",
}  # fmt: skip

REPORT = "\nimport sys; print(' '.join(sys.modules))"


def modules_after(code: str) -> set[str]:
    """Names of all modules loaded by `code` in a fresh interpreter without site customization."""
    done = subprocess.run(
        [sys.executable, "-c", code + REPORT],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def bare() -> set[str]:
    """Modules of an interpreter that did nothing."""
    return modules_after("pass")


def outside(names: set[str]) -> set[str]:
    """Top-level names that are neither Python's own nor ours."""
    tops = {name.partition(".")[0] for name in names}
    # Python's own name for a program, and modules that cloudpickle registers for types of builtins.
    return tops - set(sys.stdlib_module_names) - {"oarlock", "__main__", "__mp_main__"}


def test_importing_oarlock_loads_nothing_but_itself_and_a_little_of_the_library(bare):
    loaded = modules_after("import oarlock") - bare
    assert outside(loaded) == set()
    assert not {name for name in loaded if name.startswith("oarlock.")}
    assert len(loaded) < 40, sorted(loaded)  # what `typing` needs, and nothing beside it


@pytest.mark.parametrize(
    "code",
    [
        "from oarlock import Client",
        "from oarlock import Cluster",
        "from oarlock import Client, Cluster, AsyncResult, DirectView, LoadBalancedView, remote",
        "from oarlock import *",
    ],
)
def test_using_the_public_names_needs_cloudpickle_and_nothing_else(code, bare):
    loaded = modules_after(code) - bare
    assert outside(loaded) <= {"cloudpickle"}
    slow = NEVER_LOADED - ({"multiprocessing"} if "*" in code else set())
    assert not loaded & slow, "these are loaded when they are first needed"


def test_an_engine_needs_cloudpickle_and_nothing_else(new_client):
    def loaded():
        import sys

        return set(sys.modules)

    # An engine of its own: others have run tests that import what they like.
    (names,) = new_client(1)[:].apply_sync(loaded)
    assert not names & {"IPython", "tqdm", "ipywidgets", "asyncio"}


# What an engine does without until a task needs it.
NOT_BEFORE_A_TASK = {
    "cloudpickle", "concurrent.futures", "contextlib", "dataclasses", "inspect", "logging",
    "pathlib", "pickle", "re", "tempfile", "threading", "traceback", "typing", "oarlock.error",
}  # fmt: skip


def test_an_engine_is_ready_before_it_loads_what_only_some_tasks_need(bare):
    loaded = modules_after("import oarlock.engine.loop") - bare
    assert not loaded & NOT_BEFORE_A_TASK
    assert len(loaded) < 45, sorted(loaded)


def test_plain_results_need_no_more(bare):
    code = "from oarlock.serialize import dumps, loads; assert loads(dumps('text')) == 'text'"
    assert not (modules_after(code) - bare) & NOT_BEFORE_A_TASK


def test_a_cluster_starts_its_engines_before_it_loads_the_client(bare):
    loaded = modules_after("from oarlock import Cluster") - bare
    late = {"cloudpickle", "tempfile", "oarlock.client", "oarlock.error", "oarlock.serialize"}
    assert not loaded & late


def test_public_names_are_the_same_whatever_was_imported_before():
    code = (
        "import importlib, pkgutil, types, oarlock\n"
        "for info in pkgutil.walk_packages(oarlock.__path__, 'oarlock.'):\n"
        "    if not info.name.endswith('__main__'): importlib.import_module(info.name)\n"
        "public = {name: getattr(oarlock, name) for name in oarlock.__all__}\n"
        "hidden = [name for name, value in public.items() if isinstance(value, types.ModuleType)]\n"
        "assert not hidden, hidden\n"
    )
    modules_after(code)


def test_every_public_name_exists_and_is_listed():
    for name in oarlock.__all__:
        assert not isinstance(getattr(oarlock, name), ModuleType)
        assert name in dir(oarlock)
    with pytest.raises(AttributeError, match="no attribute 'nothing_of_this_name'"):
        _ = oarlock.nothing_of_this_name


def test_dir_lists_public_names_and_modules_and_nothing_of_ours():
    import oarlock.client

    listed = dir(oarlock)
    assert {"Client", "client"} <= set(listed)
    assert not [name for name in listed if name.startswith("_") and name not in oarlock.__all__]
    beyond = set(listed) - set(oarlock.__all__)
    assert all(getattr(oarlock, name).__name__ == f"oarlock.{name}" for name in beyond)


def test_version_info_is_the_version_in_parts():
    assert oarlock.version_info[:3] == tuple(int(part) for part in oarlock.__version__.split("."))
