"""Objects, functions and exceptions on their way between a client and an engine."""

import functools
import gc
import math
import pickle
import threading
import weakref

import pytest

from oarlock import Reference, error, interactive
from oarlock.serialize import dumps, dumps_many, loads, pack_error, pack_function, unpack_error
from oarlock.serialize.packed import unpack_function

np = pytest.importorskip("numpy")


def round_trip(obj):
    return loads([bytearray(part) if i else part for i, part in enumerate(dumps(obj))])


def arrive(f):
    """The function as it is after the way it takes."""
    return unpack_function(pack_function(f)[1])


# --- data


@pytest.mark.parametrize("value", [0, 1.5, "ä" * 9, b"x", None, True, [1, {"a": (2,)}], {1, 2}])
def test_plain_data_survives(value):
    assert round_trip(value) == value


def test_a_large_array_stays_out_of_the_pickle_and_arrives_writable():
    array = np.arange(1000.0)
    parts = dumps(((array,), {}))
    assert len(parts) == 2
    assert len(parts[0]) < 500
    assert np.shares_memory(np.frombuffer(parts[1]), array)
    ((arrived,), _) = loads([parts[0], bytearray(parts[1])])
    arrived[0] = 7
    assert (arrived[1:] == array[1:]).all()


def test_a_small_array_stays_in_the_pickle():
    assert len(dumps(np.arange(3))) == 1


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_keep_their_shape_and_values(order):
    array = np.asarray(np.arange(6000.0).reshape(60, 100), order=order)
    assert (round_trip(array) == array).all()
    assert (round_trip(array[::2, ::3]) == array[::2, ::3]).all()


def test_large_bytes_are_not_copied_into_the_pickle():
    content = bytes(200_000)
    again = bytearray(b"y" * 100_000)
    parts = dumps((([content, content], again), {"k": content}))
    assert len(parts[0]) < 1000
    assert [part.nbytes for part in parts[1:]] == [200_000, 100_000]
    (first, second), keywords = loads(parts)
    assert first == [content, content]
    assert type(first[0]) is bytes
    assert first[0] is first[1] is keywords["k"]
    assert type(second) is bytearray
    assert second == again


def test_large_bytes_inside_a_list_that_holds_itself_survive():
    ring = [bytes(100_000)]
    ring.append(ring)
    arrived = loads(dumps(ring))
    assert arrived[0] == ring[0]
    assert arrived[1][0] == ring[0]


@pytest.mark.parametrize("form", ["B", "d"])
def test_a_memoryview_arrives_as_a_memoryview(form):
    view = memoryview(bytearray(8000)).cast(form)
    arrived = round_trip(view)
    assert type(arrived) is memoryview
    assert (arrived.format, arrived.shape) == (view.format, view.shape)
    assert arrived == view
    assert round_trip(view[::2]) == view[::2]


def test_a_dump_inside_a_dump_disturbs_neither():
    class Nested:
        def __reduce__(self):
            return loads, (dumps([1, np.arange(500)])[:1],)

    with pytest.raises(pickle.UnpicklingError):  # its buffer was left out on purpose
        loads(dumps([Nested()]))
    assert loads(dumps([[1], "after"])) == [[1], "after"]


def test_many_are_pickled_each_by_itself():
    items = [((i, "a"), {}) for i in range(100)] + [((np.zeros(1000),), {})]
    payloads, failed = dumps_many(items)
    assert not failed
    assert all(type(payload) is bytes for payload in payloads[:100])
    assert loads([payloads[41]]) == items[41]
    assert len(payloads[100]) == 2


def test_of_many_only_what_cannot_be_pickled_fails():
    items = [((1,), {}), ((threading.Lock(),), {}), ((lambda: 3,), {}), ((4,), {})]
    payloads, failed = dumps_many(items)
    assert list(failed) == [1]
    assert payloads[1] == b""
    assert loads([payloads[2]])[0][0]() == 3
    assert loads([payloads[3]]) == ((4,), {})
    raised = unpack_error([failed[1]])
    assert isinstance(raised, error.SerializationError)
    assert isinstance(raised, error.RemoteError)
    assert "args[0]" in str(raised)


def test_what_an_iterable_raises_is_no_failure_to_pickle():
    def items():
        yield ((1,), {})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        dumps_many(items())


# --- what cannot be pickled


class Holder:
    def __init__(self, **parts):
        self.__dict__.update(parts)


@pytest.mark.parametrize(
    ("call", "path"),
    [
        (((1, threading.Lock()), {}), "args[1]"),
        (((), {"k": [0, {"x": threading.Lock()}]}), "kwargs['k'][1]['x']"),
        (((Holder(a=Holder(lock=threading.Lock())),), {}), "args[0].a.lock"),
        (((functools.partial(max, threading.Lock()),), {}), "args[0].args[0]"),
    ],
)
def test_the_error_names_the_part_that_cannot_be_pickled(call, path):
    with pytest.raises(error.SerializationError) as caught:
        dumps(call)
    text = str(caught.value)
    assert f"cannot pickle {path}, of type _thread.lock" in text
    assert "hint:" in text
    assert isinstance(caught.value.__cause__, TypeError)
    assert isinstance(caught.value, pickle.PicklingError)


def test_the_error_names_the_variable_of_a_closure():
    lock = threading.Lock()
    with pytest.raises(error.SerializationError, match=r"args\[0\] \(its variable lock\)"):
        dumps(((lambda: lock,), {}))


_LOCK = threading.Lock()


def test_the_error_names_the_global_of_a_nested_function_of_a_module():
    with pytest.raises(error.SerializationError, match=r"args\[0\] \(its global _LOCK\)"):
        dumps(((lambda: _LOCK,), {}))


def test_a_type_whose_reduce_raises_is_named_itself():
    class Stubborn:
        def __reduce__(self):
            raise ValueError("not today")

        def __repr__(self):
            raise RuntimeError

    with pytest.raises(error.SerializationError, match=r"value\[0\].*Stubborn.*not today"):
        dumps([Stubborn()])


def test_what_is_nested_too_deeply_is_an_error_like_others():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(error.SerializationError, match="nested too deeply"):
        dumps(deep)
    assert loads(dumps([1])) == [1]


# --- functions


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
namespace.install({{"__name__": "__main__"}})
from oarlock.serialize.packed import unpack_function
import sys
assert "email.mime.text" not in sys.modules
print(unpack_function(bytes.fromhex("{body}"))())
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
    user_namespace["math"] = Holder(pi=3)
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
        unpack_function(body)


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
    user_namespace["a"] = Holder(b=[5, 6])
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
    f = unpack_function(body)
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


# --- classes


def test_an_object_comes_back_as_an_instance_of_its_own_class(interpreter, tmp_path):
    client = """
import enum, dataclasses, pathlib, subprocess, sys
from oarlock.serialize import dumps, loads
scale = 2
@dataclasses.dataclass
class Point:
    x: int
    def scaled(self): return self.x * scale
class Colour(enum.Enum):
    RED = 1
method = Point.scaled
path = pathlib.Path("there")
parts = dumps([Point(3), Colour.RED])
path.write_bytes(parts[0])
"""
    # One interpreter must outlive the other, so the client starts the engine itself.
    engine = """
import pathlib
from oarlock import namespace
namespace.install({"__name__": "__main__"})
from oarlock.serialize import dumps, loads
point, colour = loads([pathlib.Path("there").read_bytes()])
assert point.scaled() == 6
type(point).extra = 1
pathlib.Path("back").write_bytes(dumps([type(point)(5), colour, point])[0])
"""
    (tmp_path / "engine.py").write_text("import stand_in; stand_in.install()\n" + engine)
    shown = interpreter(
        client
        + """
subprocess.run([sys.executable, "engine.py"], check=True)
point, colour, _ = loads([pathlib.Path("back").read_bytes()])
scale = 3
assert type(point) is Point and colour is Colour.RED
assert Point.scaled is method and not hasattr(Point, "extra")
print(point.scaled())
"""
    )
    assert shown == "15"


# --- exceptions


def caught_in(f, *args):
    try:
        f(*args)
    except BaseException as raised:
        return raised
    raise AssertionError("nothing was raised")


def test_an_exception_arrives_as_its_type_with_text_traceback_and_place():
    def divide():
        return 1 / 0

    raised = caught_in(divide)
    raised.add_note("a note")
    arrived = unpack_error([pack_error(raised, {"engine_id": 3, "method": "apply"})], 5)
    assert isinstance(arrived, ZeroDivisionError)
    assert isinstance(arrived, error.RemoteError)
    assert (arrived.ename, arrived.evalue) == ("ZeroDivisionError", "division by zero")
    assert "in divide" in arrived.traceback
    assert "return 1 / 0" in arrived.traceback
    assert arrived.engine_info["engine_id"] == 3
    assert "a note" in arrived.__notes__


def test_the_engine_is_filled_in_where_the_report_does_not_name_it():
    assert unpack_error([pack_error(ValueError("x"))], 5).engine_info["engine_id"] == 5


class OddInit(Exception):
    def __init__(self, a, b):
        super().__init__(f"{a}-{b}")


class Locked(Exception):
    def __init__(self):
        super().__init__("locked")
        self.lock = threading.Lock()


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no words")


@pytest.mark.parametrize("raised", [OddInit(1, 2), Locked(), Mute()])
def test_an_exception_that_cannot_travel_still_tells_its_story(raised):
    arrived = unpack_error([pack_error(caught_in(lambda: (_ for _ in ()).throw(raised)))])
    assert isinstance(arrived, error.RemoteError)
    assert arrived.ename == type(raised).__name__
    assert arrived.ename in arrived.traceback


def test_endless_recursion_and_endless_messages_are_cut():
    def down():
        return down()

    text = unpack_error([pack_error(caught_in(down))]).traceback
    assert len(text) < 10_000
    assert len(pack_error(MemoryError("x" * 10_000_000))) < 20_000_000
    assert len(unpack_error([pack_error(ValueError("x" * 10_000_000))]).evalue) < 100_000
