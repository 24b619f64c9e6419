"""Tracebacks of engines get the source lines that only the client knows."""

import linecache

import pytest

from oarlock.error._sources import with_sources

CELL = "<ipython-input-1-0123456789ab>"


@pytest.fixture(autouse=True)
def _cell(monkeypatch):
    source = ["def f(x):\n", "    return 1 / x\n"]
    monkeypatch.setitem(linecache.cache, CELL, (0, None, source, CELL))


def test_a_frame_of_typed_code_gets_its_line():
    text = f'Traceback:\n  File "{CELL}", line 2, in f\nZeroDivisionError: division by zero'
    assert with_sources(text).splitlines()[2] == "    return 1 / x"
    assert len(with_sources(text).splitlines()) == 4


def test_in_a_group_the_line_is_indented_as_the_frame_is():
    text = f'      File "{CELL}", line 2, in f\n    ZeroDivisionError: no'
    assert with_sources(text).splitlines()[1] == "        return 1 / x"


def test_a_frame_that_has_its_line_keeps_it():
    text = f'  File "{CELL}", line 2, in f\n    return 1 / x\n    ~~^~~\nZeroDivisionError: no'
    assert with_sources(text) == text


@pytest.mark.parametrize("name", ["<string>", "/usr/lib/nowhere.py", "<ipython-input-9-unknown>"])
def test_what_is_not_known_here_is_left_as_it_is(name):
    text = f'  File "{name}", line 2, in f\nZeroDivisionError: no'
    assert with_sources(text) == text
