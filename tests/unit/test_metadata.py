"""The record of a task: a dict with closed keys that is read when somebody looks."""

import copy
import json
import pickle
from datetime import UTC, datetime

import pytest

from oarlock.metadata import KEYS, Metadata, plain

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class OneTask:
    """What the record asks of the core, for one task."""

    def __init__(self):
        self.state, self.engine_id, self.text = 0, None, ""
        self.times = [NOW, None, None, None]

    def pick(self, indexes):
        assert list(indexes) == [0]
        return self

    def msg_ids(self):
        return ["ab_0"]

    def status(self, index):
        return self.state

    def engine(self, index):
        return self.engine_id

    def engine_session(self, index):
        return None if self.engine_id is None else "cd"

    def stamps(self, index):
        return tuple(self.times)

    def output(self, index, stream):
        return self.text if stream == 1 else ""


@pytest.fixture
def task():
    return OneTask()


def test_values_appear_while_the_task_runs(task):
    record = Metadata(task, 0, label="mine")
    assert (record.status, record["engine_id"], record.started) == (None, None, None)
    assert (record.submitted, record.msg_id, record.label) == (NOW, "ab_0", "mine")
    task.engine_id, task.times[1], task.text = 2, NOW, "hello"
    assert (record.engine_id, record["engine_uuid"], record.started) == (2, "cd", NOW)
    assert record["stdout"] == "hello"
    task.state = 1
    assert record.status == "ok"


@pytest.mark.parametrize(
    ("state", "word"),
    [(0, None), (1, "ok"), (2, "error"), (3, "error"), (4, "aborted"), (5, "error"), (6, "error")],
)
def test_status_has_three_words_and_none(task, state, word):
    task.state = state
    assert Metadata(task, 0).status == word


def test_keys_are_closed(task):
    record = Metadata(task, 0)
    with pytest.raises(KeyError):
        record["nothing"]
    with pytest.raises(AttributeError, match="nothing"):
        record.nothing
    with pytest.raises(KeyError):
        record["nothing"] = 1
    with pytest.raises(AttributeError):
        record.nothing = 1
    with pytest.raises(KeyError):
        record.update(nothing=1)
    for remove in (
        lambda: record.pop("label"),
        record.popitem,
        record.clear,
        lambda: record.__delitem__("label"),
    ):
        with pytest.raises(TypeError):
            remove()


def test_a_value_may_be_assigned_and_then_stays(task):
    record = Metadata(task, 0)
    record["label"] = "a"
    record.stdout = "b"
    record.update({"stderr": "c"})
    assert (record.label, record["stdout"], record.stderr) == ("a", "b", "c")


def test_it_behaves_as_a_dict_of_current_values(task):
    record = Metadata(task, 0)
    assert isinstance(record, dict)
    assert list(record) == list(KEYS) == list(record.keys())
    assert len(record) == len(list(record.values())) == len(KEYS)
    task.state = 1
    for copied in (
        dict(record),
        record.copy(),
        {**record},
        dict(record.items()),
        copy.copy(record),
    ):
        assert type(copied) is dict
        assert copied["status"] == "ok"
        assert copied == record
    assert record == Metadata(task, 0)
    assert record != {}
    assert "status" in record
    assert "nothing" not in record
    assert record.get("nothing", 5) == 5
    assert pickle.loads(pickle.dumps(record)) == record
    assert "'status': 'ok'" in repr(record)
    assert json.loads(json.dumps(record, default=str))["status"] == "ok"
    assert set(KEYS) <= set(dir(record))


def test_containers_are_the_same_at_each_look(task):
    record = Metadata(task, 0)
    record.data["x"] = 1
    assert record["data"] == {"x": 1}
    assert record.outputs is record.outputs == []


def test_the_error_is_asked_for_only_when_there_is_one(task):
    failure = ValueError("v")
    record = Metadata(task, 0, failure=lambda index: failure)
    assert record.error is None
    task.state = 2
    assert record.error is failure


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\rb", "b"),
        ("x\na\r\rb\ny", "x\nb\ny"),
        ("a\r\nb", "a\nb"),
        ("10%\r20%\r", "20%\r"),
        ("plain\n", "plain\n"),
    ],
)
def test_a_carriage_return_erases_back_to_the_start_of_the_line(text, shown):
    assert plain(text) == shown
