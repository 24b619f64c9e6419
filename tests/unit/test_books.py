"""Histories are ranges that look like lists of msg_ids."""

import pytest

from oarlock._books import Labels, MsgIds, is_msg_id

SESSION = "0123456789abcdef" * 2


def ids(*numbers):
    return [f"{SESSION}_{number}" for number in numbers]


def test_a_history_is_indexed_and_sliced_like_a_list():
    history = MsgIds(SESSION, [(3, 5), (9, 10), (20, 22)])
    expected = ids(3, 4, 9, 20, 21)
    assert history == expected
    assert len(history) == 5
    for i in range(-5, 5):
        assert history[i] == expected[i]
    assert history[-2:] == expected[-2:]
    assert history[::-2] == expected[::-2]
    for i in (5, -6):
        with pytest.raises(IndexError):
            history[i]


def test_a_history_knows_its_members():
    history = MsgIds(SESSION, [(3, 5)])
    assert ids(4)[0] in history
    assert ids(5)[0] not in history
    assert "f" * 32 + "_4" not in history
    assert "4" not in history
    assert 4 not in history


def test_a_million_tasks_are_shown_in_one_line():
    text = repr(MsgIds(SESSION, [(0, 1_000_000)]))
    assert "999995 more" in text
    assert len(text) < 300


def test_a_label_is_found_by_task():
    labels = Labels()
    labels.add(3, 2, "a")
    labels.add(8, 1, "b")
    assert [labels.of(msg_id) for msg_id in ids(2, 3, 4, 5, 8)] == [None, "a", "a", None, "b"]


def test_the_form_of_a_msg_id():
    assert is_msg_id(f"{SESSION}_0")
    for wrong in ("", SESSION, f"{SESSION}_", f"{SESSION}_x", f"{SESSION}-1", "5"):
        assert not is_msg_id(wrong)
