"""Arrays and large objects: what travels out of band arrives whole, writable and its own."""

import os

import pytest


def test_arrays_come_and_go_writable_and_whole(rc):
    numpy = pytest.importorskip("numpy")
    view = rc[0]
    for size in (0, 10, 100_000):
        sent = numpy.arange(size, dtype=float)

        def bump(array):
            writable = array.flags.writeable
            array += 1
            return array, writable

        got, writable = view.apply_sync(bump, sent)
        assert writable
        assert got.flags.writeable
        assert numpy.array_equal(got, sent + 1)
        assert numpy.array_equal(sent, numpy.arange(size, dtype=float)), "the sender's is its own"


def test_arrays_of_any_layout_and_kind_arrive_equal(rc):
    numpy = pytest.importorskip("numpy")
    base = numpy.arange(60_000.0).reshape(200, 300)
    records = numpy.zeros(2000, dtype=[("a", int), ("b", "S8")])
    for array in (base.T, base[::2, ::3], numpy.asfortranarray(base), records, base > 5):
        got = rc[0].apply_sync(lambda a: a, array)
        assert got.dtype == array.dtype
        assert numpy.array_equal(got, array)
    objects = numpy.array([{"a": 1}, None, "b"] * 1000, dtype=object)
    assert rc[0].apply_sync(len, objects) == 3000


def test_an_array_pushed_to_all_engines_belongs_to_each(view):
    numpy = pytest.importorskip("numpy")
    view.push({"a": numpy.zeros(100_000)}, block=True)
    view.targets, everyone = view.targets[:1], view.targets
    view.execute("a += 1", block=True)
    view.targets = everyone
    assert view["float(a.sum())"] == [100_000.0, 0.0]


def test_a_hundred_megabytes_go_there_and_back(rc):
    sent = bytearray(os.urandom(1000) * 100_000)
    got = rc[0].apply_sync(lambda data: (len(data), data), sent)
    assert got[0] == 100_000_000
    assert got[1] == sent


def test_many_large_parts_and_small_ones_mix(rc, lview):
    items = [b"x" * size for size in (0, 1, 1000, 65_535, 65_536, 65_537, 1_000_000) * 3]
    assert lview.map_sync(len, items) == list(map(len, items))
    assert rc[:].map_sync(lambda item: item, items) == items
