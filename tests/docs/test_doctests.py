"""The examples in docstrings run, on a real cluster, and say what they are written to say."""

from __future__ import annotations

import doctest
import importlib
import inspect
import itertools
import math
import os
import pkgutil
import time
from types import ModuleType
from typing import Any

import pytest

import oarlock

# Details of an exception are compared up to its type: the texts have tests of their own.
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL

# Errors without an example: bases of others, those nothing raises yet, and those whose example
# would kill a controller or fork the reader's process. The tree in `oarlock.error` places each.
EXEMPT = {
    "AlreadyDisplayedError",
    "ControllerLost",
    "DependencyTimeout",
    "EngineError",
    "ForkedClient",
    "ImpossibleDependency",
    "InvalidDependency",
    "KernelError",
    "TaskAborted",
    "TaskRefused",
    "TaskRejectError",
    "TaskTimeout",
    "UnmetDependency",
}


PUBLIC = [
    name
    for name in sorted(set(oarlock.__all__) - EXEMPT)
    if callable(getattr(oarlock, name))  # not the constants
]


def modules() -> list[ModuleType]:
    """Every module of the package but the two that are programs."""
    names = [info.name for info in pkgutil.walk_packages(oarlock.__path__, "oarlock.")]
    wanted = [name for name in names if not name.endswith("__main__")]
    return [oarlock, *map(importlib.import_module, sorted(wanted))]


def examples() -> list[doctest.DocTest]:
    """Every docstring with examples, once, however many modules show it."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [test for module in modules() for test in finder.find(module)]
    return [test for test in found if test.examples]


@pytest.mark.parametrize("test", examples(), ids=lambda test: test.name)
def test_example_of_a_docstring_runs(
    test: doctest.DocTest, rc: oarlock.Client, view: Any, lview: Any
) -> None:
    names = {name: value for name, value in test.globs.items() if not name.startswith("__")}
    tools = {"itertools": itertools, "math": math, "os": os, "time": time, "oarlock": oarlock}
    # As typed at a prompt: what an example defines belongs to __main__ and travels by value.
    test.globs = {**names, **tools, "rc": rc, "view": view, "lview": lview, "__name__": "__main__"}
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False)
    outcome = runner.run(test, out=report.append, clear_globs=False)
    assert outcome.attempted, "an example that runs nothing shows nothing"
    assert not outcome.failed, "".join(report)


def test_no_example_is_skipped() -> None:
    skipped = [
        f"{test.name}: {example.source}"
        for test in examples()
        for example in test.examples
        if doctest.SKIP in example.options
    ]
    assert not skipped


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_has_an_example_of_its_own(name: str) -> None:
    public = getattr(oarlock, name)
    text = vars(public).get("__doc__") if isinstance(public, type) else inspect.getdoc(public)
    assert text, f"{name} has no docstring"
    assert ">>>" in text, f"{name} has no example"
