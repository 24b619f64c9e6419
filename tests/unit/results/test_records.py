"""What a result tells of its tasks: metadata, times, state, and what they wrote."""

import pickle
import time
from datetime import timedelta

import pytest

from oarlock import error

from .core import START, finish

# --- metadata and times


def test_metadata_is_scalar_for_single_results_and_a_list_otherwise(make):
    single, many = make(label="mine"), make(2)
    assert (single.status, single["label"], many.status) == (None, "mine", [None, None])
    finish(single, 1)
    finish(many, 1, 2)
    assert (single.engine_id, many.engine_id, many["status"]) == (0, [0, 1], ["ok", "ok"])
    assert many.metadata[1].msg_id == "s_1" == many.msg_id[1]
    assert single.msg_ids == ["s_0"]
    assert many.metadata is many.metadata
    for look in (lambda: many["nothing"],):
        with pytest.raises(KeyError):
            look()
    with pytest.raises(AttributeError):
        many.nothing
    assert {"engine_id", "get"} <= set(dir(many))


def test_metadata_tells_the_error(make):
    result = finish(make(2), ValueError("a"), 1)
    assert isinstance(result.error[0], ValueError)
    assert result.error[1] is None


def test_times_are_known_at_the_end(make):
    result = make(2)
    for name in ("serial_time", "wall_time"):
        with pytest.raises(error.TimeoutError):
            getattr(result, name)
    finish(result, 1, 2)
    assert (result.serial_time, result.wall_time, result.elapsed) == (2.0, 3.0, 3.0)
    assert result.timedelta(result.submitted, result.received) == 3.0
    assert result.timedelta(START, START + timedelta(seconds=1)) == 1.0


def test_counts_and_state(make):
    result = make(2)
    assert (len(result), result.progress, result.ready(), result.done()) == (2, 0, False, False)
    assert repr(result) == "<AsyncResult(f): pending>"
    assert not result.running()
    result._tasks.records[0].engine = 1
    assert result.running()
    finish(result, 1, ValueError("a"))
    assert (result.progress, result.ready(), result.done(), result.running()) == (
        2,
        True,
        True,
        False,
    )
    assert repr(result) == "<AsyncResult(f): failed>"
    assert repr(finish(make(), 1)) == "<AsyncResult(f): finished>"
    assert result.sent
    assert result.wait_for_send()
    assert result.wait_for_output()
    assert result.owner


def test_results_do_not_pickle_and_say_so(make):
    with pytest.raises(TypeError, match="msg_ids"):
        pickle.dumps(make())


# --- showing


def test_outputs_are_grouped_by_type_and_labelled(make, capsys):
    result = make(2)
    for index, record in enumerate(result._tasks.records):
        record.text = {1: f"out{index}", 2: f"err{index}\n"}
    with pytest.raises(error.TimeoutError):
        result.display_outputs()
    finish(result, 1, 2)
    result.display_outputs()
    shown = capsys.readouterr()
    assert shown.out == "[stdout:0] \nout0\n[stdout:1] \nout1\n"
    assert shown.err == "[stderr:0] \nerr0\n[stderr:1] \nerr1\n"
    result.display_outputs("engine")
    assert capsys.readouterr().out == shown.out
    result.display_outputs(result_only=True)
    assert capsys.readouterr().out == ""
    with pytest.raises(ValueError, match="groupby"):
        result.display_outputs("size")


def test_output_of_a_single_result_has_no_label(make, capsys):
    result = make()
    result._tasks.records[0].text[1] = "hello\n"
    finish(result, 1).display_outputs()
    assert capsys.readouterr().out == "hello\n"


def test_streamed_output_is_shown_once_and_errors_after_it(make, capsys):
    result = make(2)
    tasks = result._tasks
    tasks.records[0].engine, tasks.records[0].text[1] = 0, "early\n"
    with result.stream_output():
        tasks.records[0].text[1] += "late\n"
        finish(result, 1, ValueError("bad"))
        result.wait()
    shown = capsys.readouterr()
    assert shown.out == "[stdout:0] \nearly\nlate\n"
    assert shown.err.startswith("[error:1] \n")
    assert shown.err.count("ValueError: bad") == 1


def test_output_that_comes_before_its_engine_is_known_is_shown_as_soon_as_that_is(make, capsys):
    result = make(2)
    record = result._tasks.records[1]
    record.text[1] = "early\n"
    shown, deadline = "", time.monotonic() + 10
    with result.stream_output():
        assert capsys.readouterr().out == ""
        record.engine = 3
        while not shown and time.monotonic() < deadline:
            result.wait(0.01)
            shown = capsys.readouterr().out
    assert shown == "[stdout:3] \nearly\n"


def test_a_bar_that_nobody_watches_prints_its_last_line_only(make, capsys):
    result = finish(make(2), 1, ValueError("a"))
    result.wait_interactive()
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert "f: 100%" in out
    assert "2/2 tasks" in out
    pending = make()
    pending.wait_interactive(interval=0.01, timeout=0.02)
    assert "0/1 tasks" in capsys.readouterr().out
    with pytest.raises(ValueError, match="return_when"):
        pending.wait_interactive(return_when="nonsense")
