"""The source of an import statement is read back from its bytecode."""

import builtins
import sys

import pytest

from oarlock.views.imports import statement


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import json", None),
        ("import json as j", None),
        ("import os.path", None),
        ("import os.path as p", None),
        ("import xml.dom.minidom as m", None),
        ("from os import sep", None),
        ("from os import sep as s, path", None),
        ("from os import *", None),
        ("import json, string", "import json; import string"),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_a_statement_is_read_back_as_written(monkeypatch, source, expected, nested):
    if nested and "*" in source:
        pytest.skip("not allowed in a function")
    found = []
    original = builtins.__import__

    def watch(name, space=None, local=None, fromlist=None, level=0):
        caller = sys._getframe(1)
        if caller.f_code.co_filename == "<typed>":
            found.append(statement(caller.f_code, caller.f_lasti, name, fromlist))
        return original(name, space, local, fromlist, level)

    text = f"def f():\n    {source}\nf()" if nested else source
    code = compile(text, "<typed>", "exec")
    with monkeypatch.context() as patched:
        patched.setattr(builtins, "__import__", watch)
        exec(code, {})
    assert "; ".join(found) == (expected or source)


def test_other_code_is_no_import_statement():
    code = compile("x = 1", "<typed>", "exec")
    assert statement(code, 1_000, "json", None) is None
