"""A composite error is also of the type that all its exceptions have in common."""

from __future__ import annotations

import pickle

import pytest

from oarlock import error


def remote(exception: Exception) -> Exception:
    description = {
        "ename": type(exception).__name__,
        "evalue": str(exception),
        "traceback": "",
        "engine_info": {"engine_id": 1, "method": "map"},
        "exception": exception,
        "notes": [],
    }
    return error.make_remote(description)


def composed(*exceptions: Exception) -> error.CompositeError:
    return error.compose("f", [remote(exception) for exception in exceptions])


def test_one_failed_item_is_caught_by_its_type():
    with pytest.raises(ValueError, match="one or more exceptions raised in: f") as caught:
        raise composed(ValueError("bad"))
    assert isinstance(caught.value, error.CompositeError)
    assert isinstance(caught.value, ExceptionGroup)


def test_different_types_are_caught_by_what_they_share():
    group = composed(KeyError("a"), IndexError(1))
    assert isinstance(group, LookupError)
    assert not isinstance(group, (KeyError, IndexError))


def test_types_that_share_nothing_make_just_a_group():
    group = composed(KeyError("a"), ValueError("b"))
    assert type(group) is error.CompositeError


def test_a_type_with_a_layout_of_its_own_makes_just_a_group():
    group = composed(OSError(2, "none"), OSError(3, "none"))
    assert type(group) is error.CompositeError
    assert all(isinstance(e, OSError) for e in group.exceptions)


def test_a_single_exception_is_not_taken_for_a_group():
    composed(ZeroDivisionError())
    assert not isinstance(remote(ZeroDivisionError()), error.CompositeError)


def test_except_star_picks_from_it_and_what_is_left_is_typed_again():
    caught = []
    with pytest.raises(error.CompositeError) as left:
        try:
            raise composed(ValueError("a"), KeyError("b"))
        except* ValueError as values:
            caught.append(values)
    assert isinstance(caught[0], ValueError)
    assert [e.evalue for e in caught[0].exceptions] == ["a"]
    assert isinstance(left.value, KeyError)


def test_it_keeps_its_types_through_a_pickle():
    group = pickle.loads(pickle.dumps(composed(ValueError("a"), UnicodeError("b"))))
    assert isinstance(group, ValueError)
    assert len(group) == 2
