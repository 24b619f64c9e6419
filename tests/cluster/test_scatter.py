"""Data cut in parts for the engines of a direct view, and put together again."""

import pytest


@pytest.mark.parametrize(
    ("dist", "parts"), [("b", [[0, 1, 2], [3, 4]]), ("r", [[0, 2, 4], [1, 3]])]
)
def test_gather_is_the_inverse_of_scatter(view, dist, parts):
    assert view.scatter("a", list(range(5)), dist=dist, block=True) is None
    assert view["a"] == parts
    assert view.gather("a", dist=dist, block=True) == list(range(5))


@pytest.mark.parametrize("dist", ["b", "r"])
def test_arrays_are_scattered_as_arrays_and_gathered_as_one(view, dist):
    numpy = pytest.importorskip("numpy")
    whole = numpy.arange(10).reshape(5, 2)
    view.scatter("a", whole, dist=dist, block=True)
    assert [part.shape for part in view["a"]] == [(3, 2), (2, 2)]
    gathered = view.gather("a", dist=dist).get(20)
    assert gathered.dtype == whole.dtype
    assert numpy.array_equal(gathered, whole)


def test_scatter_takes_ranges_and_generators(view):
    view.scatter("a", range(5), block=True)
    assert view.gather("a", block=True) == [0, 1, 2, 3, 4]
    result = view.scatter("a", (x for x in "abc"))
    assert result.get(20) == [None, None]
    assert view["a"] == [["a", "b"], ["c"]]


def test_scatter_flattens_single_items_only_on_request(view):
    view.scatter("a", [1, 2], flatten=True, block=True)
    assert view["a"] == [1, 2]
    view.scatter("a", [1, 2, 3], flatten=True, block=True)
    assert view["a"] == [[1, 2], 3]
    view.scatter("a", [1], block=True)
    assert view["a"] == [[1], []]


def test_scatter_and_gather_take_other_targets(rc, view):
    view.scatter("a", [1, 2, 3], targets=[1], block=True)
    assert rc[1]["a"] == [1, 2, 3]
    assert view.gather("a", targets=[1], block=True) == [1, 2, 3]
    for call in (view.scatter, view.gather):
        with pytest.raises(KeyError, match="no distribution named"):
            call("a", **({"seq": [1]} if call == view.scatter else {}), dist="x")


def test_gather_iterates_over_items_of_all_parts(view):
    view.scatter("a", list(range(6)), block=True)
    assert list(view.gather("a")) == list(range(6))
