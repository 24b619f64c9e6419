"""What tasks wrote, shown: all of it at the end, or live while they run."""

import io
import sys
import time
import types

import pytest

import oarlock

from .conftest import PATIENCE


def _make_write():
    def write(out="", err=""):
        import sys

        sys.stdout.write(out)
        sys.stderr.write(err)

    return write


# Writes to both streams of an engine. Made in a function, so that it travels by value.
write = _make_write()


@pytest.fixture
def terminal(monkeypatch):
    """Puts both streams of this process into one from now on, as a terminal does; gives that."""

    def start():
        both = io.StringIO()
        monkeypatch.setattr(sys, "stdout", both)
        monkeypatch.setattr(sys, "stderr", both)
        return both

    return start


@pytest.fixture
def number(view):
    """Stands for the id of the engine it arrives at."""
    view.scatter("numbers", view.targets, block=True)
    return oarlock.Reference("numbers[0]")


@pytest.fixture
def written(view, number):
    """A finished result of two tasks, of which each wrote a line to both streams."""
    result = view.apply_async(lambda n: write(f"out {n}\n", f"err {n}\n"), number)
    result.wait(PATIENCE)
    return result


def until_shown(screen, text, result):
    """Wait until `text` is on the screen, while `result` runs."""
    deadline = time.monotonic() + PATIENCE
    while text not in screen.getvalue():
        assert time.monotonic() < deadline, screen.getvalue()
        assert not result.wait(0.01), screen.getvalue()


# --- all of it at the end


class TestDisplay:
    """`display_outputs`."""

    @pytest.mark.parametrize("options", [{}, {"groupby": "type"}, {"groupby": "order"}])
    def test_by_type_all_stdout_comes_before_all_stderr(self, written, terminal, options):
        screen = terminal()
        written.display_outputs(**options)
        assert screen.getvalue() == (
            "[stdout:0] \nout 0\n[stdout:1] \nout 1\n[stderr:0] \nerr 0\n[stderr:1] \nerr 1\n"
        )

    def test_by_engine_what_an_engine_wrote_stays_together(self, written, terminal):
        screen = terminal()
        written.display_outputs("engine")
        assert screen.getvalue() == (
            "[stdout:0] \nout 0\n[stderr:0] \nerr 0\n[stdout:1] \nout 1\n[stderr:1] \nerr 1\n"
        )

    def test_each_stream_goes_to_its_own_and_can_be_shown_again(self, written, capsys):
        for _ in range(2):
            written.display_outputs()
            shown = capsys.readouterr()
            assert shown.out == "[stdout:0] \nout 0\n[stdout:1] \nout 1\n"
            assert shown.err == "[stderr:0] \nerr 0\n[stderr:1] \nerr 1\n"

    def test_only_results_leaves_the_text_out(self, written, terminal):
        screen = terminal()
        written.display_outputs(result_only=True)
        assert screen.getvalue() == ""

    def test_another_grouping_is_refused(self, written, terminal):
        screen = terminal()
        with pytest.raises(ValueError, match="'type', 'engine' or 'order', not 'size'"):
            written.display_outputs("size")
        assert screen.getvalue() == ""

    def test_who_wrote_nothing_has_no_label(self, view, number, terminal):
        screen = terminal()
        result = view.apply_async(lambda n: write("mine\n" * n), number)
        result.wait(PATIENCE)
        result.display_outputs()
        assert screen.getvalue() == "[stdout:1] \nmine\n"

    def test_a_label_begins_a_line_and_the_last_line_is_ended(self, view, terminal):
        screen = terminal()
        result = view.apply_async(write, "no end", "none")
        result.wait(PATIENCE)
        result.display_outputs("engine")
        assert screen.getvalue() == (
            "[stdout:0] \nno end\n[stderr:0] \nnone\n[stdout:1] \nno end\n[stderr:1] \nnone\n"
        )

    @pytest.mark.parametrize(
        ("groupby", "expected"),
        [
            ("type", ["0a", "0b", "1a"]),
            ("engine", ["0a", "0b", "1a"]),
            ("order", ["0a", "1a", "0b"]),
        ],
    )
    def test_displays_are_grouped_as_asked(self, written, terminal, monkeypatch, groupby, expected):
        screen = terminal()
        shown = []
        display = types.ModuleType("IPython.display")
        display.publish_display_data = lambda data, metadata: shown.append(data["text/plain"])
        monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
        monkeypatch.setitem(sys.modules, "IPython.display", display)
        for record, names in zip(written.metadata, (["0a", "0b"], ["1a"]), strict=True):
            record.outputs = [{"data": {"text/plain": name}, "metadata": {}} for name in names]
        written.display_outputs(groupby)
        assert shown == expected
        assert "[output:0]" in screen.getvalue()


def test_the_output_of_one_call_has_no_label(lview, terminal):
    screen = terminal()
    result = lview.apply_async(write, "out\n", "err\n")
    result.wait(PATIENCE)
    for groupby in ("type", "engine", "order"):
        result.display_outputs(groupby)
    assert screen.getvalue() == "out\nerr\n" * 3


def test_a_line_written_over_is_shown_as_a_terminal_would_leave_it(lview, terminal):
    screen = terminal()
    result = lview.apply_async(write, "10%\r50%\r100%\n")
    result.wait(PATIENCE)
    assert result.stdout == "100%\n"
    result.display_outputs()
    assert screen.getvalue() == "100%\n"


def test_what_a_failed_task_wrote_is_shown(lview, terminal):
    screen = terminal()

    def fails():
        print("before")
        raise ZeroDivisionError

    result = lview.apply_async(fails)
    result.wait(PATIENCE)
    result.display_outputs()
    assert screen.getvalue() == "before\n"


def test_the_output_of_a_map_is_shown_by_task(lview, terminal):
    screen = terminal()
    result = lview.map_async(lambda x: write(f"item {x}\n"), range(3), chunksize=1)
    result.wait(PATIENCE)
    result.display_outputs()
    lines = screen.getvalue().splitlines()
    assert [line for line in lines if "[" not in line] == ["item 0", "item 1", "item 2"]
    assert lines[0] == f"[stdout:{result.engine_id[0]}] "


def test_nothing_is_displayed_before_the_end(lview, gate):
    result = lview.apply_async(gate.hold)
    with pytest.raises(TimeoutError, match=r"the output of .* before the end"):
        result.display_outputs()
    gate.release()
    assert result.wait(PATIENCE)


# --- live


def test_output_is_streamed_while_the_task_runs_and_once(lview, gate, terminal):
    screen = terminal()
    hold = gate.hold

    def speaks():
        import sys

        print("first", end=" ", flush=True)
        hold()
        print("second")
        print("third", file=sys.stderr)

    result = lview.apply_async(speaks)
    with result.stream_output():
        until_shown(screen, "first ", result)
        gate.wait_begun()
        gate.release()
        assert result.wait(PATIENCE)
    assert screen.getvalue() == "first second\nthird\n"


def test_what_was_there_before_the_block_is_shown_first_and_once(lview, gate, terminal):
    screen = terminal()
    hold = gate.hold

    def speaks():
        print("early")
        hold()
        print("late")

    result = lview.apply_async(speaks)
    deadline = time.monotonic() + PATIENCE
    while not result.stdout:
        assert time.monotonic() < deadline
        assert not result.wait(0.01)
    with result.stream_output():
        assert screen.getvalue() == "early\n"
        gate.release()
        assert result.wait(PATIENCE)
    assert screen.getvalue() == "early\nlate\n"
    with result.stream_output():
        assert screen.getvalue() == "early\nlate\n" * 2, "a new block shows it all again"


def test_streamed_output_of_several_engines_is_labelled(number, view, gate, terminal):
    screen = terminal()
    hold = gate.hold

    def speaks(number):
        print("early", number)
        hold()
        print("late", number)

    result = view.apply_async(speaks, number)
    with result.stream_output():
        until_shown(screen, "early 0", result)
        until_shown(screen, "early 1", result)
        gate.release(2)
        assert result.wait(PATIENCE)
    said = {}
    for line in screen.getvalue().splitlines():
        if line.startswith("["):
            label = line
        else:
            said.setdefault(label, []).append(line)
    assert said == {
        "[stdout:0] ": ["early 0", "late 0"],
        "[stdout:1] ": ["early 1", "late 1"],
    }


def test_a_label_is_not_repeated_while_the_same_engine_speaks(rc, gate, terminal):
    screen = terminal()
    hold = gate.hold

    def speaks():
        print("one")
        hold()
        print("two")

    result = rc[[1]].apply_async(speaks)
    with result.stream_output():
        until_shown(screen, "one", result)
        gate.release()
        assert result.wait(PATIENCE)
    assert screen.getvalue() == "[stdout:1] \none\ntwo\n"


def test_streams_go_to_their_own(lview, capsys):
    result = lview.apply_async(write, "out\n", "err\n")
    with result.stream_output():
        result.wait(PATIENCE)
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("out\n", "err\n")


def test_output_of_maps_is_streamed_too(view, lview, terminal):
    screen = terminal()
    for each in (view, lview):
        result = each.map_async(lambda x: write(f"item {x}\n"), range(20))
        with result.stream_output():
            result.wait(PATIENCE)
        lines = [line for line in screen.getvalue().splitlines() if "[" not in line]
        assert sorted(lines) == sorted(f"item {x}" for x in range(20))
        screen.truncate(0)
        screen.seek(0)


def test_long_output_is_streamed_whole(lview, terminal):
    screen = terminal()
    text = "".join(f"{line}\n" for line in range(30_000))

    def speaks():
        for line in range(30_000):
            print(line)

    for _ in range(5):
        result = lview.apply_async(speaks)
        with result.stream_output():
            assert result.wait(PATIENCE)
        assert result.stdout == text
    assert screen.getvalue() == text * 5


def test_a_failure_is_streamed_after_the_output(view, terminal):
    screen = terminal()

    def fails():
        print("before")
        raise KeyError("k")

    result = view.apply_async(fails)
    with result.stream_output():
        result.wait(PATIENCE)
    shown = screen.getvalue()
    for number in (0, 1):
        assert shown.index(f"[stdout:{number}]") < shown.index(f"[error:{number}]")
    assert shown.count("before\n") == 2
    assert "in fails" in shown
    assert shown.count("\nKeyError: 'k'\n") == 2


def test_nothing_is_shown_after_the_block(lview, gate, terminal):
    screen = terminal()
    hold = gate.hold

    def speaks():
        print("inside")
        hold()
        print("outside")

    result = lview.apply_async(speaks)
    with result.stream_output():
        until_shown(screen, "inside", result)
    gate.release()
    assert result.wait(PATIENCE)
    assert result.stdout == "inside\noutside\n"
    assert screen.getvalue() == "inside\n"


def test_an_exception_inside_the_block_is_raised_and_ends_the_stream(lview, gate):
    result = lview.apply_async(gate.hold)
    with pytest.raises(ZeroDivisionError), result.stream_output():
        _ = 1 / 0
    gate.release()
    assert result.wait(PATIENCE)


def test_all_output_is_there_when_the_task_is(view, lview):
    many = view.apply_async(write, "x" * 100_000, "y")
    assert many.wait_for_output(PATIENCE)
    assert [len(text) for text in many.stdout] == [100_000] * 2
    assert many.stderr == ["y", "y"]
    quick = [lview.apply_async(write, f"{number}") for number in range(200)]
    assert all(result.wait_for_output(PATIENCE) for result in quick)
    assert [result.stdout for result in quick] == [str(number) for number in range(200)]


def test_waiting_for_output_runs_out_with_the_task_running(lview, gate):
    result = lview.apply_async(gate.hold)
    gate.wait_begun()
    assert result.wait_for_output(0.01) is False
    gate.release()
    assert result.wait_for_output(PATIENCE) is True


def test_output_of_another_clients_task_is_streamed(other, view, gate, terminal):
    screen = terminal()
    hold = gate.hold

    def speaks():
        hold()
        print("heard")

    begun = view.apply_async(speaks)
    result = other.get_result(begun.msg_ids)
    assert isinstance(result, oarlock.AsyncHubResult)
    # Output is told from the moment the controller knows who watches; an answer says it does.
    other.queue_status()
    with result.stream_output():
        gate.release(2)
        assert result.wait(PATIENCE)
    assert screen.getvalue().count("heard\n") == 2
    assert begun.wait(PATIENCE)
