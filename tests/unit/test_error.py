"""The exceptions: what catches them, what they say, how they travel."""

import copy
import multiprocessing
import pickle
import subprocess
import sys
import traceback

import pytest

from oarlock import error


class TwoArguments(ValueError):
    """Leaves fewer arguments than its constructor wants: cannot be unpickled by its own means."""

    def __init__(self, text, code):
        super().__init__(text)
        self.code = code


class Slotted(KeyError):
    __slots__ = ("where",)


class Refuses(Exception):
    def __init_subclass__(cls, **options):
        raise RuntimeError("final")


def described(exception, notes=(), engine=3):
    name = type(exception).__name__
    return {
        "ename": name,
        "evalue": str(exception),
        "traceback": "\n".join(
            ["Traceback (most recent call last):", "  there", f"{name}: {exception}", *notes]
        )
        + "\n",
        "engine_info": {"engine_id": engine, "method": "apply", "pid": 7, "host": "box"},
        "exception": exception,
        "notes": list(notes),
    }


def remote(exception, **options):
    return error.make_remote(described(exception, **options))


MANY = [
    ValueError("a"),
    OSError(2, "none", "/file"),
    UnicodeDecodeError("utf8", b"abc", 0, 1, "bad"),
    KeyError("k"),
    ImportError("m", name="mod", path="/p"),
    SyntaxError("bad", ("f", 1, 2, "t")),
    AttributeError("x", name="n", obj=3),
    TimeoutError("late"),
    TwoArguments("t", 5),
    Slotted("s"),
    error.SerializationError("no"),
]


@pytest.mark.parametrize("original", MANY, ids=lambda e: type(e).__name__)
def test_a_remote_exception_is_of_its_own_type_and_a_remote_error(original):
    made = remote(original)
    assert isinstance(made, type(original))
    assert isinstance(made, error.RemoteError)
    assert made.args == original.args
    assert made.original is original
    assert (made.ename, made.evalue) == (type(original).__name__, str(original))
    for name in ("errno", "filename", "object", "name", "path", "lineno", "obj", "code"):
        assert getattr(made, name, None) == getattr(original, name, None), name


def test_slots_of_the_original_are_copied():
    original = Slotted("s")
    original.where = "here"
    assert remote(original).where == "here"


@pytest.mark.parametrize(
    "duplicate", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy]
)
@pytest.mark.parametrize("original", MANY, ids=lambda e: type(e).__name__)
def test_a_remote_exception_pickles_and_copies(original, duplicate):
    made = remote(original, notes=["mine"])
    again = duplicate(made)
    assert type(again) is type(made)
    assert (str(again), again.args, again.__notes__) == (str(made), made.args, made.__notes__)
    assert again.engine_info == made.engine_info
    assert vars(again.original) == vars(original)


@pytest.mark.parametrize(
    "original",
    [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), StopIteration(1), Refuses("r")],
)
def test_what_must_not_or_cannot_be_combined_becomes_a_plain_remote_error(original):
    made = remote(original)
    assert type(made) is error.RemoteError
    assert made.args == (made.ename, made.evalue) == (type(original).__name__, str(original))


def test_an_exception_that_did_not_survive_the_way_still_tells_what_it_was():
    made = error.make_remote({**described(ValueError("v")), "exception": None})
    assert type(made) is error.RemoteError
    assert str(made) == "[3:apply] ValueError: v"


def test_a_remote_exception_raised_again_on_an_engine_keeps_its_type():
    assert isinstance(remote(remote(KeyError("k"))), KeyError)


def test_combined_classes_are_made_once():
    assert type(one := remote(ValueError("a"))) is type(two := remote(ValueError("b")))
    assert one is not two


def test_text_names_engine_and_method():
    made = remote(ValueError("bad"))
    assert str(made) == "[3:apply] ValueError: bad"
    assert repr(made) == "<RemoteError[3]:ValueError(bad)>"
    bare = error.RemoteError("A", "b")
    assert str(bare) == "[Engine Exception] A: b"
    assert repr(bare) == "<RemoteError[ ]:A(b)>"
    assert bare.engine_info == {}


def test_the_remote_traceback_is_shown_by_python_once_and_with_the_notes():
    shown = "".join(traceback.format_exception(remote(ValueError("bad"), notes=["my note"])))
    assert shown.count("raised on engine 3 (pid 7, host box)") == 1
    assert shown.count("Traceback (most recent call last)") == 1
    assert shown.count("my note") == 1


def test_rendering_gives_lines_under_the_engines_name(capsys):
    made = remote(ValueError("bad"))
    assert made.render_traceback()[0] == "[3:apply]"
    assert made.render_traceback()[-1] == "ValueError: bad"
    assert made._render_traceback_() == made.render_traceback()
    made.print_traceback()
    assert capsys.readouterr().out.splitlines() == made.render_traceback()
    assert len(error.RemoteError("A", "b").render_traceback()) == 2


def group(count=3):
    return error.compose("f", [remote(ValueError(str(i)), engine=i) for i in range(count)])


def test_several_errors_are_an_exception_group():
    mixed = error.compose("f", [remote(ValueError("a")), remote(KeyError("b"))])
    assert isinstance(mixed, (error.RemoteError, ExceptionGroup))
    seen = []
    try:
        raise mixed
    except* KeyError as found:
        seen.append(("KeyError", len(found.exceptions), isinstance(found, error.CompositeError)))
    except* ValueError as found:
        seen.append(("ValueError", len(found.exceptions), isinstance(found, error.CompositeError)))
    assert sorted(seen) == [
        ("KeyError", 1, True),
        ("ValueError", 1, True),
    ]


def test_a_composite_error_has_what_ipyparallel_users_know(capsys):
    found = group(6)
    assert found.msg == "one or more exceptions raised in: f"
    assert found.elist[1][:2] == ("ValueError", "1")
    assert found.elist[1][3]["engine_id"] == 1
    assert found.args == ("ValueError",) * 6
    assert repr(found) == "CompositeError(6)"
    lines = str(found).splitlines()
    assert lines[0] == found.msg
    assert lines[1] == "[0:apply]: ValueError: 0"
    assert lines[-1] == "... 2 more exceptions ..."
    assert len(lines) == 1 + error.CompositeError.tb_limit + 1
    assert (found.ename, found.evalue, found.traceback, found.engine_info) == (None,) * 4
    with pytest.raises(ValueError, match="2") as caught:
        found.raise_exception(2)
    assert caught.value is found[2]
    for call in (found.raise_exception, found.render_traceback, found.print_traceback):
        with pytest.raises(IndexError):
            call(6)
    assert found.render_traceback(5)[0] == "[5:apply]:"
    found.print_traceback()
    assert "ValueError: 3" in capsys.readouterr().out


def test_nested_composite_errors_are_flattened():
    assert len(error.compose("f", [group(2), remote(KeyError(1)), group(3)])) == 6


def test_a_composite_error_may_be_built_of_plain_entries():
    built = error.CompositeError("m", [("A", "b", None, {"engine_id": 1, "method": "execute"})])
    assert str(built) == "m\n[1:execute]: A: b"
    assert type(built[0]) is error.RemoteError


@pytest.mark.parametrize("duplicate", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy])
def test_a_composite_error_pickles(duplicate):
    again = duplicate(group())
    assert str(again) == str(group())
    assert all(isinstance(each, ValueError) for each in again.exceptions)


def test_already_displayed_errors_are_one_line():
    shown = error.AlreadyDisplayedError(group(2))
    assert (shown.n, str(shown), shown.render_traceback()) == (2, "2 errors", ["2 errors"])


def test_the_death_of_an_engine_tells_all_and_pickles():
    lost = error.EngineLost(
        "id_7", engine=2, pid=99, host="box", cause="killed by SIGKILL", started=True, ran_for=2.5,
        output="last words\n",
    )  # fmt: skip
    for part in (
        "id_7",
        "engine 2",
        "pid 99",
        "host box",
        "killed by SIGKILL",
        "2.5 s",
        "last words",
        "hint: ",
    ):
        assert part in str(lost)
    assert isinstance(lost, error.EngineError)
    assert isinstance(lost, error.RemoteError)
    assert lost.ename == "EngineError"
    again = pickle.loads(pickle.dumps(lost))
    assert (str(again), again.cause, again.ran_for) == (str(lost), lost.cause, lost.ran_for)
    assert "had not been started" in str(error.EngineLost("x", engine=1, cause="exit code 3"))


@pytest.mark.parametrize(
    ("raised", "caught"),
    [
        ("TaskCancelled", "concurrent.futures.CancelledError TaskAborted"),
        ("NotReady", "RuntimeError ValueError"),
        ("ClosedClient", "RuntimeError ConnectionError OSError"),
        ("ForkedClient", "RuntimeError"),
        ("ControllerLost", "ConnectionError"),
        ("SerializationError", "pickle.PicklingError TypeError"),
        ("UnknownTask", "KeyError TaskRefused"),
        ("TimeoutError", "TimeoutError multiprocessing.TimeoutError"),
        ("InvalidDependency", "ImpossibleDependency UnmetDependency KernelError IPythonError"),
    ],
)
def test_errors_are_caught_by_the_names_python_has_for_them(raised, caught):
    import builtins
    import concurrent.futures

    places = {
        "pickle": pickle,
        "multiprocessing": multiprocessing,
        "concurrent.futures": concurrent.futures,
    }
    for name in caught.split():
        module, _, last = name.rpartition(".")
        where = (
            places[module]
            if module
            else (error if last in error.__all__ and last != raised else builtins)
        )
        assert issubclass(getattr(error, raised), getattr(where, last))


def test_unknown_tasks_print_their_message_as_it_is():
    assert str(error.UnknownTask("no such task")) == "no such task"


def test_importing_the_errors_does_not_import_multiprocessing():
    code = "import sys, oarlock.error; sys.exit('multiprocessing' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_classes_are_looked_up_when_they_are_raised(monkeypatch):
    class Mine(error.RemoteError):
        pass

    monkeypatch.setattr(error, "RemoteError", Mine)
    assert type(error.unwrap_exception({"ename": "A", "evalue": "b"})) is Mine
    assert isinstance(remote(ValueError("v")), (Mine, ValueError))
    assert type(error.CompositeError("m", [("A", "b", None, {})])[0]) is Mine


def test_collecting_raises_for_failures_and_aborted_tasks_and_leaves_values_alone():
    good = [1, ValueError("a value that happens to be an exception")]
    assert error.collect_exceptions(good) is good
    with pytest.raises(error.CompositeError):
        error.collect_exceptions({0: 1, 1: error.TaskAborted("no")}, "f")


def test_wrapping_and_unwrapping_an_exception_keeps_its_text():
    try:
        raise KeyError("k")
    except KeyError:
        content = error.wrap_exception({"engine_id": 4, "method": "apply"})
    assert content["status"] == "error"
    assert str(error.unwrap_exception(content)) == "[4:apply] KeyError: 'k'"
