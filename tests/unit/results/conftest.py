"""Fixtures of the tests of results: a client whose core is made of Python, and its results."""

import pytest

from oarlock.mapresult import AsyncMapResult
from oarlock.result import AsyncResult

from .core import Client, Tasks


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
        if kind is AsyncMapResult:
            options.setdefault("chunked", items is not None)
        elif count == 1:
            options.setdefault("single", True)
        return kind(client, Tasks.make(client._core, count, items), fname="f", **options)

    return make
