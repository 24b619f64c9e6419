"""Fixtures of the tests of results: a client whose core is made of Python, and its results."""

import pytest

from oarlock._about import About
from oarlock.mapresult import AsyncMapResult
from oarlock.result import AsyncResult

from .core import Client, Tasks

# What only a map is told; all else its About is.
SHAPE = ("ordered", "chunked", "join_parts")


@pytest.fixture
def client():
    made = Client()
    yield made
    made._core.close()
    made._dispatch.join(5)


@pytest.fixture
def make(client):
    """Makes a result of `count` tasks; its tasks are at ``result._tasks``."""

    def make(count=1, kind=AsyncResult, items=None, **options):
        shape = {key: options.pop(key) for key in SHAPE if key in options}
        if kind is AsyncMapResult:
            shape.setdefault("chunked", items is not None)
        elif count == 1:
            options.setdefault("single", True)
        about = About(client, "f", **options)
        return kind(about, Tasks.make(client._core, count, items), **shape)

    return make
