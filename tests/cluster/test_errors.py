"""What a task raises arrives as what it was, with all there is to know about it."""

import pickle
import sys
import threading
import traceback

import pytest

import oarlock
from oarlock import error


def divide(a, b):
    return a / b


def fails_by_its_argument(x):
    if x % 3 == 0:
        raise KeyError(f"no {x}")
    return x


@pytest.fixture(autouse=True)
def _all_go_on(rc):
    """After each test, whatever it broke, the same engines run tasks for the same client."""
    pids = rc[:].apply_sync(_pid)
    yield
    assert rc[:].apply_sync(_pid) == pids
    assert rc.load_balanced_view().map_sync(abs, [-1, -2, -3]) == [1, 2, 3]


def _pid():
    import os

    return os.getpid()


class TestRemoteExceptions:
    def test_are_of_their_own_type_and_remote_errors(self, lview):
        result = lview.apply_async(divide, 1, 0)
        with pytest.raises(ZeroDivisionError) as own:
            result.get()
        with pytest.raises(oarlock.RemoteError) as remote:
            result.get()
        assert own.value is remote.value
        assert (remote.value.ename, remote.value.evalue) == (
            "ZeroDivisionError",
            "division by zero",
        )
        assert remote.value.args == ("division by zero",)

    def test_name_the_engine_that_raised(self, rc):
        with pytest.raises(ZeroDivisionError) as caught:
            rc[1].apply_sync(divide, 1, 0)
        info = caught.value.engine_info
        assert info["engine_id"] == 1
        assert info["pid"] == rc[1].apply_sync(_pid)
        assert info["method"] == "apply"

    def test_show_the_remote_frames_in_an_ordinary_traceback(self, rc):
        with pytest.raises(ZeroDivisionError) as caught:
            rc[1].apply_sync(divide, 1, 0)
        shown = "".join(traceback.format_exception(caught.value))
        assert "in divide" in shown
        assert f"raised on engine 1 (pid {rc[1].apply_sync(_pid)}" in shown
        assert shown.count("in divide") == 1

    def test_show_the_remote_frames_when_rendered(self, rc, capsys):
        with pytest.raises(ZeroDivisionError) as caught:
            rc[1].apply_sync(divide, 1, 0)
        lines = caught.value.render_traceback()
        assert lines[0] == "[1:apply]"
        assert any("in divide" in line for line in lines)
        assert lines[-1] == "ZeroDivisionError: division by zero"
        caught.value.print_traceback()
        assert capsys.readouterr().out == "\n".join(lines) + "\n"

    def test_carry_attributes_causes_and_notes(self, lview):
        def fail():
            failure = OSError(2, "gone", "/nowhere")
            failure.add_note("look elsewhere")
            raise failure from ValueError("why")

        with pytest.raises(FileNotFoundError) as caught:
            lview.apply_sync(fail)
        assert (caught.value.errno, caught.value.filename) == (2, "/nowhere")
        assert "look elsewhere" in caught.value.__notes__
        assert "ValueError: why" in caught.value.traceback

    def test_of_classes_of_main_are_both_types_too(self, lview):
        class OwnError(Exception):
            def __init__(self, one, two):
                super().__init__(f"{one} and {two}")
                self.one = one

        def fail():
            raise OwnError(1, 2)

        with pytest.raises(oarlock.RemoteError) as caught:
            lview.apply_sync(fail)
        assert caught.value.ename == "OwnError"
        assert str(caught.value).endswith("1 and 2")
        assert caught.value.one == 1

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_pickle_with_all_they_tell(self, rc, protocol):
        with pytest.raises(ZeroDivisionError) as caught:
            rc[0].apply_sync(divide, 1, 0)
        copy = pickle.loads(pickle.dumps(caught.value, protocol))
        assert isinstance(copy, ZeroDivisionError)
        assert isinstance(copy, oarlock.RemoteError)
        assert copy.engine_info == caught.value.engine_info
        assert copy.traceback == caught.value.traceback
        assert copy.args == caught.value.args
        assert copy.__notes__ == caught.value.__notes__

    def test_raised_again_in_a_task_are_still_what_they_were(self, lview):
        with pytest.raises(ZeroDivisionError) as caught:
            lview.apply_sync(divide, 1, 0)

        def again(failure):
            raise failure

        with pytest.raises(ZeroDivisionError) as second:
            lview.apply_sync(again, caught.value)
        assert isinstance(second.value, oarlock.RemoteError)

    def test_are_given_by_every_way_to_ask(self, lview):
        result = lview.apply_async(divide, 1, 0)
        with pytest.raises(ZeroDivisionError):
            result.result()
        assert isinstance(result.exception(), ZeroDivisionError)
        with pytest.raises(ZeroDivisionError):
            _ = result.r
        assert not result.successful()
        with pytest.raises(ZeroDivisionError):
            result.get_dict()


class TestSeveralExceptions:
    def test_of_engines_become_a_composite(self, view):
        with pytest.raises(oarlock.CompositeError) as caught:
            view.apply_sync(divide, 1, 0)
        assert [ename for ename, *_ in caught.value.elist] == ["ZeroDivisionError"] * len(view)
        engines = [info["engine_id"] for *_, info in caught.value.elist]
        assert engines == view.targets
        with pytest.raises(ZeroDivisionError):
            caught.value.raise_exception(1)
        shown = "\n".join(caught.value.render_traceback())
        assert shown.count("in divide") == len(view)

    def test_are_picked_by_their_types(self, lview):
        def fail(kind):
            raise kind("this")

        seen = {}
        try:
            lview.map_sync(fail, [ValueError, KeyError, ValueError])
        except* ValueError as group:
            seen["values"] = [str(one.args[0]) for one in group.exceptions]
        except* KeyError as group:
            seen["keys"] = len(group.exceptions)
        assert seen == {"values": ["this", "this"], "keys": 1}

    def test_pickle(self, view):
        with pytest.raises(oarlock.CompositeError) as caught:
            view.apply_sync(divide, 1, 0)
        copy = pickle.loads(pickle.dumps(caught.value))
        assert isinstance(copy, ExceptionGroup)
        assert copy.elist == caught.value.elist
        assert all(isinstance(one, ZeroDivisionError) for one in copy.exceptions)

    @pytest.mark.parametrize("chunksize", [1, 4])
    def test_of_a_map_leave_the_other_items_alone(self, lview, chunksize):
        result = lview.map_async(fails_by_its_argument, range(8), chunksize=chunksize)
        with pytest.raises(oarlock.CompositeError) as caught:
            result.get()
        assert [evalue for _, evalue, *_ in caught.value.elist] == ["'no 0'", "'no 3'", "'no 6'"]
        kept = result.get(return_exceptions=True)
        assert [value for value in kept if isinstance(value, int)] == [1, 2, 4, 5, 7]
        assert [type(value).remote_type for value in kept[::3]] == [KeyError] * 3

    def test_of_a_map_are_raised_where_they_stand(self, lview):
        items = iter(lview.map_async(fails_by_its_argument, [1, 2, 3, 4]))
        assert [next(items), next(items)] == [1, 2]
        with pytest.raises(KeyError, match="no 3"):
            next(items)


def test_one_result_raises_the_same_exception_each_time(lview):
    result = lview.apply_async(divide, 1, 0)
    raised = []
    for _ in range(2):
        with pytest.raises(ZeroDivisionError) as caught:
            result.get()
        raised.append(caught.value)
    assert raised[0] is raised[1]
    # Raised twice, it does not carry the frames of the first time along.
    assert len(traceback.extract_tb(raised[1].__traceback__)) <= 3


def test_every_error_of_a_task_is_an_oarlock_error(lview):
    results = [
        lview.apply_async(divide, 1, 0),
        lview.apply_async(sys.exit, 1),
        lview.apply_async(threading.Lock),
    ]
    for result in results:
        assert isinstance(result.exception(20), error.OarlockError)
