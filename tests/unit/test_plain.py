"""Plain values are pickled without pickle, and nobody can tell the difference."""

import pickle
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oarlock import _oarlock

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(max_size=300)
    | st.binary(max_size=300)
)
values = st.recursive(scalars, lambda inner: st.tuples(*[inner] * 2) | st.lists(inner).map(tuple))


def same(a, b):
    """Equal, of the same types, NaNs and signs of zeros included."""
    if type(a) is not type(b):
        return False
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return struct.pack("d", a) == struct.pack("d", b) if isinstance(a, float) else a == b


@given(values)
def test_what_is_written_here_is_read_by_pickle_and_here(value):
    written = _oarlock.dump_plain(value)
    if written is not None:
        assert same(pickle.loads(written), value)
        (read,) = _oarlock.load_plain(written)
        assert same(read, value)


@given(values.filter(lambda value: isinstance(value, tuple)) | st.tuples(values))
def test_a_call_is_written_as_its_arguments_and_no_keywords(args):
    written = _oarlock.dump_call(args)
    if written is not None:
        call, keywords = pickle.loads(written)
        assert same(call, args)
        assert keywords == {}


@given(st.lists(st.tuples(values | st.lists(st.integers())), max_size=20))
def test_rows_that_are_not_plain_are_named_and_filled_in(rows):
    packed = _oarlock.PackedCalls(rows)
    assert len(packed) == len(rows)
    assert packed.rest == [i for i, row in enumerate(rows) if _oarlock.dump_call(row) is None]
    packed.fill([pickle.dumps((rows[i], {})) for i in packed.rest])
    with pytest.raises(ValueError, match="one payload for each"):
        packed.fill([b""] * (len(packed.rest) + 1))


@given(st.lists(values | st.lists(st.integers()), max_size=20))
def test_items_are_left_to_the_caller_just_where_rows_of_them_are(items):
    packed = _oarlock.PackedCalls.of_items(items)
    assert len(packed) == len(items)
    assert packed.rest == _oarlock.PackedCalls([(item,) for item in items]).rest


@given(scalars)
def test_every_small_scalar_is_plain(value):
    long = isinstance(value, str) and len(value.encode()) > 1024
    assert long or _oarlock.dump_plain(value) is not None


@given(values, st.integers(0, 5))
def test_what_is_read_of_other_pickles_is_what_pickle_reads(value, protocol):
    read = _oarlock.load_plain(pickle.dumps(value, protocol))
    assert read is None or same(read[0], value)


@given(scalars)
def test_scalars_that_the_pickler_wrote_are_read(value):
    assert same(_oarlock.load_plain(pickle.dumps(value, 5))[0], value)


@given(st.binary() | scalars.map(lambda value: pickle.dumps(value, 5)[:-2] + b"."))
def test_damaged_pickles_are_left_to_pickle(data):
    read = _oarlock.load_plain(data)
    assert read is None or same(read[0], pickle.loads(data))


class Number(int):
    pass


LONG = "x" * 2000


@pytest.mark.parametrize(
    "value",
    [
        2**63,
        Number(1),
        "\ud800",
        LONG,
        LONG.encode(),
        [],
        {},
        1j,
        (1, [2]),
        tuple(range(100)),
        (((((((1,),),),),),),),
    ],
)
def test_anything_else_is_left_to_pickle(value):
    assert _oarlock.dump_plain(value) is None
    if pickle.loads(pickle.dumps(value)) is not None and not isinstance(value, tuple):
        assert _oarlock.load_plain(pickle.dumps(value, 5)) is None


def test_what_occurs_twice_is_left_to_pickle_which_keeps_it_one_object():
    text, pair = "some text", (1, "other")
    assert _oarlock.dump_plain((text, text)) is None
    assert _oarlock.dump_plain((pair, pair)) is None
    assert _oarlock.load_plain(pickle.dumps((text, text), 5)) is None
    assert _oarlock.dump_plain(((), ())) is not None
