"""How an engine runs tasks: a scripted core stands where the compiled one hands them out."""

import contextlib
import itertools
import os
import signal
import sys
import sysconfig
import threading

import pytest

from oarlock import _oarlock, error, namespace
from oarlock.engine.interrupt import Gate
from oarlock.engine.loop import serve
from oarlock.engine.streams import TaskStream
from oarlock.serialize import dumps, loads, pack_function, unpack_error

OK, ERROR, PARTIAL, CANCELLED = _oarlock.OK, _oarlock.ERROR, _oarlock.PARTIAL, _oarlock.CANCELLED
# What a namespace holds in which nobody has put anything.
EMPTY = {"__name__", "__builtins__"}


class ScriptedCore:
    """Hands out what a test wrote down and keeps what comes back."""

    id = 7

    def __init__(self):
        self.script = []
        self.outcomes = []
        self.progressed = []
        self.written = []
        self.is_cancelled = False
        self.running = False

    def apply(self, f, *args, **kwargs):
        self._task(f, _oarlock.APPLY, dumps((args, kwargs)))

    def chunk(self, f, rows):
        self._task(f, _oarlock.CHUNK, dumps(rows))

    def _task(self, f, kind, parts):
        name, body, _ = pack_function(f)
        self.script += [("func", name, body), ("task", name, kind, parts)]

    def next(self, calls=None):
        self.running = bool(self.script) and self.script[0][0] == "task"
        return self.script.pop(0) if self.script else None

    def done(self, status, parts):
        assert self.running, "two outcomes of one task"
        self.running = False
        self.outcomes.append((status, [bytes(part) for part in parts]))

    def progress(self, items):
        self.progressed.append(items)

    def cancelled(self):
        return self.is_cancelled

    def write(self, stream, text):
        text.encode()  # as the compiled one, which takes what UTF-8 can hold
        if self.running:
            self.written.append((stream, text))
        return self.running


@pytest.fixture
def core(user_namespace):
    return ScriptedCore()


@pytest.fixture
def gate():
    before = signal.getsignal(signal.SIGINT)
    gate = Gate()
    gate.install()
    yield gate
    signal.signal(signal.SIGINT, before)


def run(core, gate=None, streams=()):
    serve(core, gate or Gate(), streams)
    return core.outcomes


def value(outcome):
    status, parts = outcome
    assert status == OK, unpack_error(parts).traceback
    return loads(parts)


def failure(outcome):
    status, parts = outcome
    assert status == ERROR
    return unpack_error(parts)


# --- outcomes


def test_a_task_gives_the_value_of_its_call(core):
    core.apply(divmod, 7, 2)
    core.apply(lambda *a, **k: (a, k), 1, b=2)
    assert [value(outcome) for outcome in run(core)] == [(3, 1), ((1,), {"b": 2})]


def test_a_failure_is_told_even_where_nothing_more_can_be_loaded(core, monkeypatch):
    def fail():
        raise OSError("no descriptors are left")

    core.apply(fail)
    core.apply(int)
    # As it is in an engine that has not failed yet, and where a task has used up all descriptors.
    monkeypatch.delattr("oarlock.serialize.failures")
    monkeypatch.setitem(sys.modules, "oarlock.serialize.failures", None)
    (status, parts), (then, _) = run(core)
    assert (status, then) == (ERROR, OK)
    monkeypatch.undo()
    raised = unpack_error(parts)
    assert isinstance(raised, error.RemoteError)
    assert (raised.ename, raised.evalue) == ("OSError", "no descriptors are left")


def test_an_exception_is_the_outcome_of_its_task_alone(core):
    def divide(x):
        return 1 / x

    core.apply(divide, 0)
    core.apply(divide, 1)
    first, second = run(core)
    raised = failure(first)
    assert isinstance(raised, ZeroDivisionError)
    assert "in divide" in raised.traceback
    assert "oarlock/engine" not in raised.traceback
    assert raised.engine_info["engine_id"] == 7
    assert raised.engine_info["pid"] == os.getpid()
    assert value(second) == 1


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_what_is_no_exception_does_not_end_the_engine(core, kind):
    def leave():
        raise kind

    core.apply(leave)
    core.apply(int)
    first, second = run(core)
    assert failure(first).ename == kind.__name__
    assert value(second) == 0


def test_a_result_that_cannot_be_pickled_is_named(core):
    core.apply(lambda: {"a": threading.Lock()})
    raised = failure(run(core)[0])
    assert isinstance(raised, error.SerializationError)
    assert "result['a'], of type _thread.lock" in str(raised)
    assert "the engine goes on" in str(raised)


def test_endless_recursion_and_bottomless_results_are_errors(core):
    def down(n):
        return down(n + 1)

    def deep():
        value = []
        for _ in range(100_000):
            value = [value]
        return value

    core.apply(down, 0)
    core.apply(deep)
    first, second = run(core)
    assert isinstance(failure(first), RecursionError)
    assert isinstance(failure(second), error.SerializationError)


class Unreadable:
    def __reduce__(self):
        return _refuse, ()


def _refuse():
    raise OSError("cannot be made anew")


def test_an_argument_that_cannot_be_unpickled_fails_its_task(core):
    core.apply(abs, Unreadable())
    core.apply(abs, -1)
    first, second = run(core)
    raised = failure(first)
    assert isinstance(raised, OSError)
    assert "an argument of this task" in "".join(raised.__notes__)
    assert value(second) == 1


def test_a_function_whose_module_is_missing_is_an_error_with_a_hint(core):
    name = b"n" * 16
    missing = b"\x80\x05cno_such_module\nf\n."
    task = ("task", name, _oarlock.APPLY, dumps(((), {})))
    core.script = [("func", name, missing), task, task]
    for outcome in run(core):
        raised = failure(outcome)
        assert isinstance(raised, ModuleNotFoundError)
        hint = "".join(raised.__notes__)
        assert "module 'no_such_module' is not found" in hint
        assert f"works in {os.getcwd()} and looks in {sys.path[0]}" in hint
        assert f", {sysconfig.get_path('stdlib')}," not in hint
        assert "hint: start the cluster in your project's directory, set PYTHONPATH" in hint


def test_a_function_is_unpickled_once_until_it_is_forgotten(core):
    def make():
        n = 0

        def count():
            nonlocal n
            n += 1
            return n

        return count

    name, body, _ = pack_function(make())
    task = ("task", name, _oarlock.APPLY, dumps(((), {})))
    core.script = [("func", name, body), task, task, ("forget", name), ("func", name, body), task]
    assert [value(outcome) for outcome in run(core)] == [1, 2, 1]


# --- chunks


def test_a_chunk_gives_the_list_of_its_values(core):
    core.chunk(lambda a, b: a + b, [(1, 2), (3, 4)])
    assert value(run(core)[0]) == [3, 7]


def test_a_chunk_may_be_anything_that_iterates_over_arguments(core):
    from oarlock.partition import Columns

    core.chunk(pow, Columns(range(3), [2, 2, 2]))
    assert value(run(core)[0]) == [0, 1, 4]


def test_of_a_chunk_only_the_bad_items_fail(core):
    def f(x):
        if x == 0:
            raise SystemExit(3)
        return threading.Lock() if x == 9 else 1 / x

    description = {"ename": "E", "evalue": "", "traceback": "", "engine_info": {}, "notes": []}
    core.chunk(f, [(1,), (0,), (9,), error.ItemError(description), (2,)])
    ((status, parts),) = run(core)
    assert status == PARTIAL
    values = loads(parts)
    assert (values[0], values[4]) == (1.0, 0.5)
    enames = [item.description["ename"] for item in values[1:4]]
    assert enames == ["SystemExit", "SerializationError", "E"]
    remote = error.make_remote(values[2].description)
    assert isinstance(remote, error.SerializationError)


@pytest.mark.parametrize(("takes", "told"), [(0.031, [1, 2, 3, 4, 5, 6, 7]), (0, [1, 3, 7])])
def test_a_running_chunk_tells_how_far_it_is_but_not_for_every_fast_item(
    core, monkeypatch, takes, told
):
    from oarlock.engine import task

    now = itertools.count()
    monkeypatch.setattr(task.time, "monotonic", lambda: next(now) * takes)
    core.chunk(abs, [(n,) for n in range(7)])
    run(core)
    assert sorted(set(core.progressed)) == told


# --- interrupts


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000):
        pass
    return "went on"


def test_an_interrupt_of_a_cancelled_task_cancels_it(core, gate):
    core.is_cancelled = True
    core.apply(interrupt)
    assert run(core, gate) == [(CANCELLED, [])]


def test_an_interrupt_cancels_a_whole_chunk(core, gate):
    core.is_cancelled = True
    core.chunk(interrupt, [(), ()])
    assert run(core, gate) == [(CANCELLED, [])]


def test_an_interrupt_nobody_asked_for_is_an_error_of_the_running_task(core, gate):
    core.apply(interrupt)
    core.apply(int)
    first, second = run(core, gate)
    assert failure(first).ename == "KeyboardInterrupt"
    assert value(second) == 0


def test_an_interrupt_between_tasks_does_nothing(core, gate):
    core.apply(int)
    plain_next, plain_done = core.next, core.done

    def next_(calls):
        interrupt()
        return plain_next(calls)

    def done(*outcome):
        interrupt()
        plain_done(*outcome)
        interrupt()

    core.next, core.done = next_, done
    assert value(run(core, gate)[0]) == 0


def test_a_task_that_puts_back_pythons_own_handler_cannot_end_the_engine(core, gate):
    core.apply(lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None)
    core.apply(int)
    plain_done = core.done

    def done(*outcome):
        core.done = plain_done
        interrupt()

    core.done = done
    first, second = run(core, gate)
    assert failure(first).ename == "KeyboardInterrupt"
    assert value(second) == 0


# --- output


class Log:
    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def fileno(self):
        return 2


@pytest.fixture
def streams(core):
    return TaskStream(core.write, 1, Log()), TaskStream(core.write, 2, Log())


def test_prints_of_a_task_are_sent_by_lines_and_the_rest_at_its_end(core, streams):
    def talk():
        print("a", "b")
        print("rest", end="")
        print("bad", file=sys.stderr)

    core.apply(talk)
    with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
        run(core, streams=streams)
    assert core.written == [(1, "a b\n"), (2, "bad\n"), (1, "rest")]


def test_what_belongs_to_no_task_goes_to_the_log(core, streams):
    print("idle", file=streams[0])
    assert streams[0]._real.text == "idle\n"
    assert core.written == []


def test_a_stream_behaves_as_a_text_file_that_is_no_terminal(core, streams):
    core.running = True
    out = streams[0]
    assert not out.isatty()
    assert (out.encoding, out.fileno(), out.writable()) == ("utf-8", 2, True)
    out.buffer.write(b"bytes\n")
    out.write("surrogate \udc80\n")
    out.close()
    out.write("still open\n")
    assert [text for _, text in core.written] == ["bytes\n", "surrogate \\udc80\n", "still open\n"]
    with pytest.raises(TypeError, match="must be str"):
        out.write(b"")


def test_a_long_unfinished_line_is_not_held_back_for_ever(core, streams):
    core.running = True
    streams[0].write("x" * 10_000)
    assert sum(len(text) for _, text in core.written) == 10_000


def test_a_forked_child_writes_to_the_log_and_leaves_the_engine_alone(core, streams, monkeypatch):
    core.running = True
    monkeypatch.setattr(os, "getpid", lambda: -1)
    print("child", file=streams[0])
    assert core.written == []
    assert streams[0]._real.text == "child\n"


# --- the user namespace


def test_code_runs_in_the_namespace_and_leaves_only_its_names_there(core, user_namespace):
    core.apply(namespace.execute, "import math\ndef area(r): return math.pi * r * r")
    core.apply(namespace.pull, "area(1)")
    core.apply(eval, "area(2)", user_namespace)
    _, area, _ = run(core)
    assert 3.14 < value(area) < 3.15
    assert set(user_namespace) == {*EMPTY, "math", "area"}


def test_the_traceback_of_executed_code_shows_its_lines(core):
    core.apply(namespace.execute, "x = 1\nassert x == 2")
    text = failure(run(core)[0]).traceback
    assert "<oarlock-input-" in text
    assert "assert x == 2" in text
    assert "oarlock/namespace" not in text


def test_only_recent_sources_are_kept(user_namespace):
    import linecache

    for _ in range(namespace.SOURCES_KEPT + 10):
        namespace.execute("pass")
    kept = [name for name in linecache.cache if name.startswith("<oarlock-input-")]
    assert len(kept) == namespace.SOURCES_KEPT


def test_push_assigns_to_any_target_and_pull_evaluates(user_namespace):
    class Box:
        pass

    namespace.push({"box": Box(), "items": [1, 2], "n": 3})
    namespace.push({"box.a": 4, "items[0]": 5})
    assert namespace.pull("box.a + items[0]") == 9
    assert namespace.pull(["n", "items"]) == [3, [5, 2]]
    assert set(user_namespace) == {*EMPTY, "box", "items", "n"}


@pytest.mark.parametrize("key", ["", "1", "a; b", "a = b", "f()", "for", "a\nb"])
def test_push_refuses_what_is_no_target(user_namespace, key):
    with pytest.raises(SyntaxError):
        namespace.push({key: 1})
    assert set(user_namespace) == EMPTY


def test_pull_of_an_unknown_name_is_a_name_error(user_namespace):
    with pytest.raises(NameError, match="nothing"):
        namespace.pull(["nothing"])


def test_clear_forgets_what_users_put_there(user_namespace):
    namespace.push({"a": 1, "__name__": "other"})
    namespace.clear()
    assert set(user_namespace) == EMPTY
    assert user_namespace["__name__"] == "__main__"


def test_a_process_that_is_no_engine_has_no_namespace():
    with pytest.raises(RuntimeError, match="no engine"):
        namespace.pull("a")


def test_an_engine_sees_functions_defined_on_it_before_those_of_the_client(core, typed):
    core.apply(namespace.execute, "def helper(): return 'engine'")
    core.apply(typed("def helper(): return 'client'\ndef f(): return helper()")["f"])
    assert value(run(core)[1]) == "engine"


def test_code_executed_by_a_function_finds_what_the_function_captured(core, typed, user_namespace):
    source = "k = 3\ndef f():\n k\n return eval('k + len([1])')"
    core.apply(typed(source)["f"])
    assert value(run(core)[0]) == 4
    assert set(user_namespace) == EMPTY


def test_a_started_engine_has_a_main_of_its_own_and_the_clients_path(interpreter, tmp_path):
    shown = interpreter("""
import os, sys
os.environ["OARLOCK_PATH"] = os.pathsep.join(["/some/where", sys.path[0]])
from oarlock import _oarlock
from oarlock.serialize import pack_function, dumps
name, body, _ = pack_function(eval("lambda: (__name__, sys.argv, sys.path[-1])"))
class Core:
    id = 0
    things = [("func", name, body), ("task", name, 0, dumps(((), {})))]
    def next(self, calls): return self.things.pop(0) if self.things else None
    def done(self, status, parts): outcomes.append((status, parts))
    def write(self, stream, text): return False
    def felt(self): pass
    def attempt(self): return 1
    def close(self): outcomes.append("closed")
class Engine:
    connect = staticmethod(lambda directory, patience: Core())
_oarlock.Engine = Engine
outcomes = []
main = sys.modules["__main__"]
from oarlock.engine.loop import main as start
from oarlock import namespace
assert start("there") == 0
from oarlock.serialize import loads
print(loads(outcomes[0][1]), outcomes[1])
assert sys.modules["__main__"].__dict__ is namespace.user() is not globals()
""")
    assert shown == "('__main__', [''], '/some/where') closed"


def test_an_engine_without_a_controller_says_so_and_fails(interpreter):
    shown = interpreter("""
import io, sys
from oarlock import _oarlock
class Engine:
    @staticmethod
    def connect(directory, patience): raise ConnectionError("nobody answers")
_oarlock.Engine = Engine
from oarlock.engine.loop import main
sys.stderr = io.StringIO()
status = main("there")
sys.__stdout__.write(f"{status} {sys.stderr.getvalue()}")
""")
    assert shown == "1 oarlock: this engine found no controller in there: nobody answers"


def test_an_interrupt_between_taking_a_task_and_running_it_is_not_lost():
    core, gate, felt = ScriptedCore(), Gate(), []
    gate.felt = lambda: felt.append(True)
    core.is_cancelled = True
    core.apply(os.getpid)
    gate._on_signal(signal.SIGINT, None)
    serve(core, gate)
    assert [status for status, _ in core.outcomes] == [CANCELLED]
    assert felt == [True]


def test_an_interrupt_that_came_for_an_earlier_task_does_not_hit_the_next():
    core, gate = ScriptedCore(), Gate()
    core.apply(os.getpid)
    gate._on_signal(signal.SIGINT, None)
    serve(core, gate)
    assert [status for status, _ in core.outcomes] == [OK]
