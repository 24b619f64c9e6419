"""What cannot be pickled, and exceptions on their way from an engine."""

import functools
import pickle
import threading

import pytest

from oarlock import error
from oarlock.serialize import dumps, loads, pack_error, unpack_error


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
