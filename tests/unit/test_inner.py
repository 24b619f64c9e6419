"""What functions see that are made while a captured function runs."""

import builtins
import gc
import sys

import pytest

from oarlock import _inner, namespace
from oarlock.serialize import dumps, loads


def arrive(thing):
    return loads(dumps(thing))


def test_code_written_in_c_can_import_from_within_a_function(typed, user_namespace):
    sys.modules.pop("_strptime", None)
    source = "import time\ndef f(): return time.strptime('2020', '%Y').tm_year"
    assert arrive(typed(source)["f"])() == 2020


def test_the_namespace_has_plain_builtins_while_that_is_enough(typed, user_namespace):
    f = arrive(typed("k = 3\ndef f(): return k")["f"])
    assert f() == 3
    assert user_namespace["__builtins__"] is builtins


def test_names_are_shown_to_nested_code_as_long_as_their_function_lives(typed, user_namespace):
    f = arrive(typed("k = 3\ndef f(): return (lambda: k)()")["f"])
    assert f() == 3
    assert user_namespace["__builtins__"].k == 3
    del f
    gc.collect()
    assert user_namespace["__builtins__"] is builtins


def test_a_function_that_goes_leaves_the_names_of_those_that_stay(typed, user_namespace):
    one, two = (arrive(typed(f"k = {k}\ndef f(): return (lambda: k)()")["f"]) for k in (1, 2))
    assert two() == 2
    del two
    gc.collect()
    assert one() == 1


def test_a_captured_name_gives_a_builtin_back_when_its_function_goes(typed, user_namespace):
    source = "def {0}(x): return 'mine'\ndef f(): return (lambda: {0}('abc'))()"
    other = arrive(typed("k = 3\ndef f(): return (lambda: (k, len('abc')))()")["f"])
    f = arrive(typed(source.format("len"))["f"])
    assert f() == "mine"
    del f
    gc.collect()
    assert other() == (3, 3)


def test_the_function_that_is_preferred_shows_its_own_names(typed, user_namespace):
    make = "k = {}\ndef f(): return (lambda: k)()"
    one, names = _inner.gather(lambda: arrive(typed(make.format(1))["f"]))
    two = arrive(typed(make.format(2))["f"])
    assert two() == 2
    _inner.prefer(names)
    assert one() == 1


def test_a_plain_name_is_pulled_from_the_namespace_and_never_from_a_function(typed, user_namespace):
    f = arrive(typed("k = 3\ndef f(): return (lambda: k)()")["f"])
    assert f() == 3
    with pytest.raises(NameError, match="name 'k' is not defined"):
        namespace.pull("k")
    assert namespace.pull("len") is len


def test_a_pushed_function_still_has_its_helpers_after_the_namespace_was_cleared(
    typed, user_namespace
):
    f = arrive(typed("def h(x): return -x\ndef f(xs): return [h(x) for x in xs]")["f"])
    namespace.push({"f": f})
    assert namespace.pull("f([1])") == [-1]
    namespace.clear()
    namespace.push({"f": f})
    assert namespace.pull("f([2])") == [-2]
