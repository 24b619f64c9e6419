"""What cannot travel or run fails its own task, clearly; engine, client and other tasks go on."""

import pickle
import sys
import threading

import pytest

import oarlock


def divide(a, b):
    return a / b


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


@pytest.fixture
def module(tmp_path, monkeypatch):
    """``module(source)`` is a fresh module that this process has and the engines do not."""
    names = []

    def make(source):
        name = f"oarlock_absent_{len(names)}_{tmp_path.name}"
        (tmp_path / f"{name}.py").write_text(source)
        names.append(name)
        return __import__(name)

    monkeypatch.syspath_prepend(str(tmp_path))
    yield make
    for name in names:
        sys.modules.pop(name, None)


class TestArguments:
    def test_that_cannot_be_pickled_are_refused_at_the_call_and_named(self, rc, lview):
        sent = len(rc.history)
        for apply in (lview.apply_async, rc[0].apply_async):
            with pytest.raises(oarlock.SerializationError, match=r"args\[1\]\['lock'\]") as caught:
                apply(divide, 1, {"lock": threading.Lock()})
            assert isinstance(caught.value, pickle.PicklingError)
            assert "hint:" in str(caught.value)
        assert len(rc.history) == sent

    @pytest.mark.parametrize("chunksize", [1, 2])
    def test_that_cannot_be_pickled_fail_their_item_of_a_map_alone(self, lview, chunksize):
        result = lview.map_async(str, [1, threading.Lock(), 3, 4], chunksize=chunksize)
        values = result.get(return_exceptions=True)
        assert [values[0], *values[2:]] == ["1", "3", "4"]
        assert isinstance(values[1], oarlock.SerializationError)
        assert "lock" in str(values[1])
        with pytest.raises(oarlock.CompositeError) as caught:
            result.get()
        (failure,) = caught.value.exceptions
        assert failure.engine_info["engine_id"] is None
        assert "raised here, at submission" in failure.__notes__[-1]

    def test_that_cannot_be_unpickled_fail_their_task_alone(self, lview, module):
        absent = module(
            "class Thing:\n"
            "    def __reduce__(self):\n"
            "        return refuse, ()\n"
            "def refuse():\n"
            "    raise LookupError('not here')\n"
        )
        with pytest.raises(ModuleNotFoundError) as caught:
            lview.apply_sync(type, absent.Thing())
        assert isinstance(caught.value, oarlock.RemoteError)
        assert "an argument of this task" in "".join(caught.value.__notes__)
        assert "hint:" in "".join(caught.value.__notes__)

    @pytest.mark.parametrize("chunksize", [1, 3])
    def test_that_raise_while_unpickled_fail_as_the_error_they_raise(self, lview, chunksize):
        class Raises:
            def __reduce__(self):
                return divide, (1, 0)

        result = lview.map_async(id, [1, Raises(), 3], chunksize=chunksize)
        values = result.get(return_exceptions=True)
        assert isinstance(values[1], ZeroDivisionError)
        if chunksize == 1:
            assert all(isinstance(value, int) for value in (values[0], values[2]))

    def test_nested_too_deeply_are_refused_at_the_call(self, lview):
        deep = []
        for _ in range(100_000):
            deep = [deep]
        with pytest.raises(oarlock.SerializationError, match="nested too deeply"):
            lview.apply_async(len, deep)


class TestResults:
    def test_that_cannot_be_pickled_fail_their_task_and_are_named(self, lview):
        def make():
            import threading

            return {"lock": threading.Lock()}

        with pytest.raises(oarlock.SerializationError, match=r"result\['lock'\]") as caught:
            lview.apply_sync(make)
        assert isinstance(caught.value, oarlock.RemoteError)
        assert "the engine goes on" in str(caught.value)

    @pytest.mark.parametrize("chunksize", [1, 3])
    def test_that_cannot_be_pickled_fail_their_item_of_a_map_alone(self, lview, chunksize):
        def lock_of(x):
            import threading

            return threading.Lock() if x == 1 else x

        values = lview.map_async(lock_of, range(3), chunksize=chunksize).get(return_exceptions=True)
        assert [values[0], values[2]] == [0, 2]
        assert isinstance(values[1], oarlock.SerializationError)

    def test_that_cannot_be_unpickled_here_fail_when_asked_for(self, lview):
        def make():
            class Poison:
                def __reduce__(self):
                    return eval, ("1 / 0",)

            return Poison()

        result = lview.apply_async(make)
        assert result.wait(20)
        with pytest.raises(oarlock.ResultUnreadable, match="ZeroDivisionError") as caught:
            result.get()
        assert f"engine {result.engine_id}" in str(caught.value)
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        assert not result.successful()

    def test_of_a_module_only_the_engine_has_name_it(self, lview):
        def make():
            import sys
            import types

            module = types.ModuleType("only_there")
            exec("class Thing: pass", module.__dict__)
            module.Thing.__module__ = "only_there"
            sys.modules["only_there"] = module
            return module.Thing()

        with pytest.raises(oarlock.ResultUnreadable, match="only_there"):
            lview.apply_sync(make)

    def test_nested_too_deeply_fail_their_task(self, lview):
        def nest():
            deep = []
            for _ in range(100_000):
                deep = [deep]
            return deep

        with pytest.raises(oarlock.SerializationError, match="nested too deeply"):
            lview.apply_sync(nest)

    def test_that_hold_themselves_arrive(self, lview):
        def loop():
            around = []
            around.append(around)
            return around

        value = lview.apply_sync(loop)
        assert value[0] is value


class TestExceptions:
    def test_of_a_class_that_this_process_can_import_are_caught_by_it(self, rc, module, tmp_path):
        shared = module(
            "class TwoError(Exception):\n"
            "    def __init__(self, one, two):\n"
            "        super().__init__(f'{one} and {two}')\n"
            "        self.two = two\n"
            "def fail():\n"
            "    raise TwoError(1, 2)\n"
        )

        def fail(path, name):
            import importlib
            import sys

            sys.path.append(path)
            try:
                importlib.import_module(name).fail()
            finally:
                sys.path.remove(path)

        with pytest.raises(shared.TwoError) as caught:
            rc[0].apply_sync(fail, str(tmp_path), shared.__name__)
        assert isinstance(caught.value, oarlock.RemoteError)
        assert (caught.value.args, caught.value.two) == (("1 and 2",), 2)

    def test_an_exception_that_cannot_be_pickled_arrives_by_name_and_text(self, lview):
        def fail():
            import threading

            class HoldsLock(ValueError):
                def __init__(self):
                    super().__init__("locked")
                    self.lock = threading.Lock()

            raise HoldsLock

        with pytest.raises(oarlock.RemoteError) as caught:
            lview.apply_sync(fail)
        assert (caught.value.ename, caught.value.evalue) == ("HoldsLock", "locked")
        assert "raise HoldsLock" in caught.value.traceback

    def test_an_exception_that_cannot_be_unpickled_arrives_by_name_and_text(self, lview):
        def fail():
            class Bad(Exception):
                def __reduce__(self):
                    return eval, ("1 / 0",)

            raise Bad("this")

        with pytest.raises(oarlock.RemoteError) as caught:
            lview.apply_sync(fail)
        assert (caught.value.ename, caught.value.evalue) == ("Bad", "this")
        assert not isinstance(caught.value, ZeroDivisionError)

    def test_an_exception_whose_constructor_wants_more_is_of_its_type_all_the_same(self, lview):
        def fail():
            import json

            json.loads("{")

        import json

        with pytest.raises(json.JSONDecodeError) as caught:
            lview.apply_sync(fail)
        assert caught.value.pos == 1

    def test_an_exception_with_a_broken_str_is_still_reported(self, lview):
        def fail():
            class Mute(Exception):
                def __str__(self):
                    raise RuntimeError("no")

            raise Mute

        with pytest.raises(oarlock.RemoteError) as caught:
            lview.apply_sync(fail)
        assert caught.value.ename == "Mute"


class TestFunctions:
    def test_of_a_module_that_the_engine_lacks_name_it_and_help(self, rc, lview, module):
        absent = module("def f(x):\n    return x\n")
        with pytest.raises(ModuleNotFoundError, match=absent.__name__) as caught:
            lview.apply_sync(absent.f, 1)
        assert isinstance(caught.value, oarlock.RemoteError)
        notes = "".join(caught.value.__notes__)
        assert "the function of this task" in notes
        assert f"module {absent.__name__!r}" in notes
        assert sys.executable in notes

    def test_of_a_module_that_the_engine_lacks_work_once_it_has_it(
        self, rc, lview, module, tmp_path
    ):
        absent = module("def f(x):\n    return x + 1\n")
        failed = lview.map_async(absent.f, range(4)).get(return_exceptions=True)
        assert all(isinstance(one, ModuleNotFoundError) for one in failed)

        def find(path):
            import importlib
            import sys

            sys.path.append(path)
            importlib.invalidate_caches()

        rc[:].apply_sync(find, str(tmp_path))
        assert lview.map_sync(absent.f, range(4)) == [1, 2, 3, 4]

        def lose(path):
            import sys

            sys.path.remove(path)

        rc[:].apply_sync(lose, str(tmp_path))

    def test_without_an_end_to_their_recursion_fail_as_such(self, lview):
        def forever(n):
            return forever(n + 1)

        with pytest.raises(RecursionError) as caught:
            lview.apply_sync(forever, 0)
        assert isinstance(caught.value, oarlock.RemoteError)


class TestExits:
    @pytest.mark.parametrize("chunksize", [1, 3])
    @pytest.mark.parametrize("name", ["SystemExit", "KeyboardInterrupt", "GeneratorExit"])
    def test_in_a_task_are_errors_here_and_end_no_process(self, lview, name, chunksize):
        def leave(x, name):
            import builtins

            if x == 1:
                raise getattr(builtins, name)(x)
            return x

        result = lview.map_async(leave, range(3), [name] * 3, chunksize=chunksize)
        values = result.get(return_exceptions=True)
        assert [values[0], values[2]] == [0, 2]
        assert type(values[1]) is oarlock.RemoteError
        assert values[1].ename == name

    def test_sys_exit_is_told_to_the_caller(self, lview):
        with pytest.raises(oarlock.RemoteError) as caught:
            lview.apply_sync(sys.exit, 3)
        assert (caught.value.ename, caught.value.evalue) == ("SystemExit", "3")

    def test_stop_iteration_ends_no_loop_here(self, lview):
        def stop(x):
            if x == 1:
                raise StopIteration
            return x

        seen = []
        with pytest.raises(oarlock.RemoteError) as caught:
            seen.extend(lview.map_async(stop, range(3)))
        assert caught.value.ename == "StopIteration"
