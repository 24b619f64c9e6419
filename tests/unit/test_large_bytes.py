"""Large bytes leave the pickle wherever they stand, and nobody looks for them in vain."""

import pytest

from oarlock.serialize import buffers, dumps, dumps_many, loads

LARGE = buffers.CARRIED


@pytest.mark.parametrize("kind", [bytes, bytearray])
@pytest.mark.parametrize("size", [LARGE, LARGE + 1, 5 * LARGE])
@pytest.mark.parametrize("before", [0, 1, 100_000])
def test_large_bytes_leave_the_pickle_after_any_amount_of_other_data(kind, size, before):
    value = [list(range(before)), kind(b"\x00") * size, "the end"]
    body, *views = dumps(value, "result")
    assert [len(view) for view in views] == [size]
    assert len(body) < size + 10 * before
    assert loads([body, *views]) == value


def test_each_of_several_large_bytes_leaves_the_pickle():
    value = [bytes([n]) * LARGE for n in range(5)]
    body, *views = dumps(value, "result")
    assert [bytes(view[:1]) for view in views] == [b"\x00", b"\x01", b"\x02", b"\x03", b"\x04"]
    assert loads([body, *views]) == value


@pytest.mark.parametrize(
    "value",
    [list(range(200_000)), ["x" * 1000] * 1000 + ["y" * LARGE], {n: str(n) for n in range(50_000)}],
    ids=["numbers", "text", "dict"],
)
def test_a_long_value_without_large_bytes_is_not_searched_for_them(value, monkeypatch):
    # The search looks at each object in Python, which takes twenty times as long as the pickle.
    searched = []
    monkeypatch.setattr(buffers, "carry", lambda thing: searched.append(thing) or thing)
    parts = dumps(value, "result")
    payloads, failed = dumps_many([value])
    assert not searched
    assert not failed
    assert loads(parts) == loads(payloads) == value
