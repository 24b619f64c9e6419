"""Functions on their way between a client and an engine, and references to what is there."""

import functools
import gc
import math
import threading
import weakref
from types import SimpleNamespace

import pytest

from oarlock import Reference, error, interactive
from oarlock.serialize import dumps, loads, pack_error, pack_function, unpack_error


def arrive(f):
    """The function as it is after the way it takes."""
    return loads([pack_function(f)[1]])


def test_importable_functions_go_by_reference():
    for f in (math.sqrt, functools.reduce, threading.Event, len):
        _, body, name = pack_function(f)
        assert arrive(f) is f
        assert len(body) < 60
        assert name == f.__name__


def test_the_name_of_a_function_is_a_hash_of_its_content(typed):
    one = typed("def f(): return 1")["f"]
    same = pack_function(one)
    assert same == pack_function(one)
    assert len(same[0]) == 16
    assert pack_function(typed("def f(): return 2")["f"])[0] != same[0]


def test_engine_variables_win_over_what_the_client_captured(typed, user_namespace):
    f = arrive(typed("a, b = 1, 2\ndef f(): return a, b, len('abc')")["f"])
    assert f() == (1, 2, 3)
    user_namespace["a"] = 10
    assert f() == (10, 2, 3)
    assert f.__globals__ is user_namespace
    assert set(user_namespace) == {"__name__", "__builtins__", "a"}


def test_a_captured_name_hides_a_builtin_and_an_engine_variable_hides_both(typed, user_namespace):
    f = arrive(typed("len = lambda x: 'mine'\ndef f(): return len('abc')")["f"])
    assert f() == "mine"
    user_namespace["len"] = lambda x: "theirs"
    assert f() == "theirs"


def test_global_statements_write_to_the_engines_namespace(typed, user_namespace):
    f = arrive(typed("n = 5\ndef f():\n global n\n n += 1\n return n")["f"])
    assert [f(), f()] == [6, 7]
    assert user_namespace["n"] == 7


def test_names_resolve_in_nested_functions_and_class_bodies_too(typed, user_namespace):
    source = """
k = 3
def f():
    class C:
        a = k
        def m(self): return [(lambda: k + i)() for i in range(2)]
    return C.a, C().m()
"""
    f = arrive(typed(source)["f"])
    assert f() == (3, [3, 4])
    user_namespace["k"] = 4
    assert f() == (4, [4, 5])


def test_a_function_without_an_engine_keeps_what_it_captured(typed):
    f = arrive(typed("k = 3\ndef f(): return k + len('a')")["f"])
    assert f() == 4


def test_what_was_captured_survives_a_second_journey(typed, user_namespace):
    f = arrive(arrive(typed("k = 3\ndef f(): return k")["f"]))
    assert f() == 3
    user_namespace["k"] = 4
    assert f() == 4


def test_recursion_and_mutual_recursion_work(typed, user_namespace):
    source = """
def even(n): return True if n == 0 else odd(n - 1)
def odd(n): return False if n == 0 else even(n - 1)
"""
    assert arrive(typed(source)["even"])(10) is True


def test_closures_work_also_recursive_and_unfilled_ones(typed, user_namespace):
    source = """
def make():
    def fact(n): return 1 if n == 0 else n * fact(n - 1)
    def early(): return late
    result = fact, early
    return result
    late = 1
fact, early = make()
"""
    space = typed(source)
    assert arrive(space["fact"])(5) == 120
    with pytest.raises(NameError, match="late"):
        arrive(space["early"])()


def test_two_functions_still_share_the_variable_they_shared(typed, user_namespace):
    source = """
def make():
    n = 0
    def add():
        nonlocal n
        n += 1
    def get(): return n
    return add, get
pair = make()
"""
    add, get = loads(dumps(typed(source)["pair"]))
    add()
    add()
    assert get() == 2


def test_everything_said_about_a_function_survives(typed, user_namespace):
    source = """
def f(a: int, b: 'str' = 2, *, c: float = 3) -> None:
    "words"
f.note = [1]
f.__qualname__ = 'X.f'
"""
    before = typed(source)["f"]
    after = arrive(before)
    for name in (
        "__name__",
        "__qualname__",
        "__module__",
        "__doc__",
        "__annotations__",
        "__dict__",
    ):
        assert getattr(after, name) == getattr(before, name)
    assert after.__defaults__ == (2,)
    assert after.__kwdefaults__ == {"c": 3}


def test_lambdas_partials_bound_methods_and_callable_objects_travel(typed, user_namespace):
    source = """
import functools
k = 1
class C:
    def __init__(self, n): self.n = n
    def m(self, x): return self.n + x + k
    def __call__(self, x): return self.n * x
class D(C):
    def m(self, x): return super().m(x) * 2
"""
    space = typed(source)
    assert arrive(lambda x: x + 1)(1) == 2
    assert arrive(functools.partial(space["C"].m, space["C"](2), x=3))() == 6
    assert arrive(space["C"](2).m)(3) == 6
    assert arrive(space["C"](2))(3) == 6
    assert arrive(space["D"](2).m)(3) == 12


def test_cached_functions_of_main_travel_also_recursive_ones(typed, user_namespace):
    source = """
import functools
@functools.lru_cache(maxsize=7)
def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
def use(): return fib(30)
"""
    space = typed(source)
    assert arrive(space["use"])() == 832040
    assert arrive(space["fib"]).cache_parameters()["maxsize"] == 7


def test_a_new_type_of_main_may_annotate_a_function(typed, user_namespace):
    f = typed("from typing import NewType\nU = NewType('U', int)\ndef f(x: U): return U(x)")["f"]
    arrived = arrive(f)
    assert arrived(3) == 3
    assert arrived.__annotations__["x"].__supertype__ is int


def test_submodules_a_function_uses_are_imported_with_it(interpreter):
    # A submodule that nothing else imports.
    body = interpreter("""
import email.mime.text
def f(): return email.mime.text.MIMEText.__name__
from oarlock.serialize import pack_function
print(pack_function(f)[1].hex())
""")
    shown = interpreter(f"""
from oarlock import namespace
from oarlock.serialize import loads
namespace.install({{"__name__": "__main__"}})
import sys
assert "email.mime.text" not in sys.modules
print(loads([bytes.fromhex("{body}")])())
""")
    assert shown == "MIMEText"


def test_a_wrapper_from_a_module_keeps_the_names_of_that_module(typed, user_namespace):
    def deco(f):
        @functools.wraps(f)
        def wrapper(*args):
            return functools.reduce(max, [f(*args)])

        return wrapper

    f = deco(typed("def f(x): return x")["f"])
    assert f.__module__ == "__main__"
    user_namespace["functools"] = None
    assert arrive(f)(3) == 3


def test_interactive_functions_use_the_engines_namespace(user_namespace):
    @interactive
    def f():
        return width, math.pi  # noqa: F821

    arrived = arrive(f)
    with pytest.raises(NameError):
        arrived()
    user_namespace["width"] = 2
    assert arrived() == (2, math.pi)
    user_namespace["math"] = SimpleNamespace(pi=3)
    assert arrived() == (2, 3)


def test_a_captured_name_that_cannot_be_pickled_stays_behind_with_a_reason(typed, user_namespace):
    source = """
def helper(): return lock
table = {'k': 1}
def f(): return helper(), table
"""
    f = arrive(typed(source, lock=threading.Lock())["f"])
    with pytest.raises(NameError) as caught:
        f()
    raised = unpack_error([pack_error(caught.value)])
    assert isinstance(raised, NameError)
    assert "cannot pickle '_thread.lock'" in "".join(raised.__notes__)
    user_namespace["lock"] = "the engine's"
    assert f() == ("the engine's", {"k": 1})


def test_a_function_that_cannot_be_pickled_is_an_error_that_names_it():
    lock = threading.Lock()

    def f():
        return lock

    with pytest.raises(error.SerializationError, match=r"function f \(its variable lock\)"):
        pack_function(f)


def test_only_what_can_be_called_is_a_function():
    with pytest.raises(TypeError, match="cannot be called"):
        pack_function(3)


def test_byte_code_of_another_python_is_refused(typed, user_namespace, monkeypatch):
    from oarlock.serialize import codes

    body = pack_function(typed("def f(): pass")["f"])[1]
    monkeypatch.setattr(codes, "MAGIC", b"else")
    with pytest.raises(RuntimeError, match="compiled by Python"):
        loads([body])


# --- the cache of packed functions


def test_an_unchanged_function_is_not_pickled_again(typed):
    space = typed("k = 1\ndef g(): return k\ndef f(): return g()")
    assert pack_function(space["f"])[1] is pack_function(space["f"])[1]


@pytest.mark.parametrize(
    "change",
    [
        "k = 2",
        "def g(): return 2",
        "g.__defaults__ = (1,)",
        "g.__code__ = (lambda: 5).__code__",
        "f.__kwdefaults__ = {'x': 2}",
        "f.note = 1",
        "len = 5",
        "put(9)",
    ],
)
def test_a_change_of_what_a_function_uses_is_seen(typed, change):
    source = """
k = 1
def g(): return k
def make():
    cell = 0
    def f(*, x=1): return g(), cell, len, x
    def put(value):
        nonlocal cell
        cell = value
    return f, put
f, put = make()
"""
    space = typed(source)
    before = pack_function(space["f"])
    assert pack_function(space["f"])[1] is before[1]
    exec(change, space)
    assert pack_function(space["f"])[0] != before[0]


def test_a_change_inside_a_captured_list_is_seen(typed):
    space = typed("items = [1]\ndef f(): return items")
    before = pack_function(space["f"])[0]
    space["items"].append(2)
    assert pack_function(space["f"])[0] != before


def test_the_cache_keeps_no_function_alive(typed):
    space = typed("def f(n): return n and f(n - 1)")
    pack_function(space["f"])
    watch = weakref.ref(space["f"])
    space.clear()
    gc.collect()
    assert watch() is None


# --- references


def test_a_reference_is_looked_up_on_the_engine(user_namespace):
    user_namespace["a"] = SimpleNamespace(b=[5, 6])
    assert loads(dumps([Reference("a.b[1]"), {"k": Reference("a")}])) == [
        6,
        {"k": user_namespace["a"]},
    ]


def test_a_reference_to_nothing_is_a_name_error(user_namespace):
    parts = dumps(Reference("missing"))
    with pytest.raises(NameError, match="missing"):
        loads(parts)


def test_a_reference_as_function_is_looked_up_for_each_call(user_namespace):
    _, body, name = pack_function(Reference("f"))
    assert name == "f"
    f = loads([body])
    with pytest.raises(NameError):
        f(1)
    user_namespace["f"] = lambda x: x + 1
    assert f(1) == 2
    user_namespace["f"] = lambda x: x + 2
    assert f(1) == 3


def test_a_reference_inside_a_function_is_looked_up_for_each_call(user_namespace):
    f = arrive(functools.partial(max, Reference("a")))
    user_namespace["a"] = 1
    assert f(0) == 1
    user_namespace["a"] = 2
    assert f(0) == 2


def test_a_reference_takes_a_string_and_shows_it():
    assert repr(Reference("a")) == "<Reference: 'a'>"
    with pytest.raises(TypeError, match="str"):
        Reference(3)
    assert loads(dumps(Reference("a"))) == Reference("a")
