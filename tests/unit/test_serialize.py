"""Objects on their way between a client and an engine."""

import pickle
import threading

import pytest

from oarlock import error
from oarlock.serialize import dumps, dumps_many, loads, unpack_error

np = pytest.importorskip("numpy")


def round_trip(obj):
    return loads([bytearray(part) if i else part for i, part in enumerate(dumps(obj))])


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
