"""What functions find on an engine: helpers, the engine's names, arguments large and small."""

import functools
import math
import operator
import sys
import types

import pytest

import oarlock
from oarlock import error

# --- scripts: functions of a real __main__


def test_a_script_maps_functions_that_use_its_helpers_imports_and_classes(script):
    shown = script("""
import math
import oarlock
import os.path as path
from collections import Counter
from dataclasses import dataclass

SCALE = 10

@dataclass
class Point:
    x: int
    def far(self): return scaled(self.x)

def scaled(x): return SCALE * x
def area(r): return round(math.pi * r * r, 3)
def words(text): return Counter(text.split())
def base(name): return path.basename(name)
def shifted(point): return Point(point.x + 1)

with oarlock.Cluster(n=2) as rc:
    for view in (rc[:], rc.load_balanced_view()):
        print(view.map_sync(area, [1, 2]))
        print(view.map_sync(lambda x: scaled(x) + 1, range(3)))
        print(sum(view.map_sync(words, ["a b", "b"]), Counter())["b"])
        print(view.map_sync(base, ["/x/y"]))
        points = view.map_sync(shifted, [Point(1), Point(2)])
        print(points, all(type(point) is Point for point in points))
        print(view.map_sync(Point.far, points))
""")
    once = [
        "[3.142, 12.566]",
        "[1, 11, 21]",
        "2",
        "['y']",
        "[Point(x=2), Point(x=3)] True",
        "[20, 30]",
    ]
    assert shown.splitlines() == 2 * once


def test_a_script_can_rebind_its_helper_between_two_calls(script):
    shown = script("""
import oarlock
def helper(): return "old"
def f(_): return [helper() for _ in "ab"]
with oarlock.Cluster(n=1) as rc:
    view = rc.load_balanced_view()
    print(view.apply_sync(f, 0))
    def helper(): return "new"
    print(view.apply_sync(f, 0))
    k = 1
    first = view.map_async(lambda x: [k + x for _ in "a"], [0] * 3)
    k = 2
    second = view.map_async(lambda x: [k + x for _ in "a"], [0] * 3)
    print(first.get(), second.get())
""")
    assert shown == "['old', 'old']\n['new', 'new']\n[[1], [1], [1]] [[2], [2], [2]]\n"


def test_a_script_that_lacks_a_name_everywhere_is_told_which(script):
    shown = script("""
import oarlock
with oarlock.Cluster(n=1) as rc:
    try:
        rc[0].apply_sync(lambda: absent + 1)
    except NameError as error:
        print(type(error).__mro__[1].__name__, error)
""")
    assert "RemoteError" in shown
    assert "name 'absent' is not defined" in shown


def test_an_exception_class_of_a_script_comes_back_as_itself(script):
    shown = script("""
import oarlock
class Odd(ValueError):
    def __init__(self, n):
        super().__init__(f"{n} is odd")
        self.n = n
def check(n):
    if n % 2: raise Odd(n)
with oarlock.Cluster(n=1) as rc:
    try:
        rc[0].apply_sync(check, 3)
    except Odd as error:
        print(error.n, isinstance(error, oarlock.RemoteError))
""")
    assert shown == "3 True\n"


# --- names


def test_the_engines_name_wins_over_the_captured_one(view, typed):
    f = typed("a, b = 'client', 'client'\ndef f(): return a, b")["f"]
    assert view.apply_sync(f) == [("client", "client")] * 2
    view.push({"a": "engine"}, block=True)
    assert view.apply_sync(f) == [("engine", "client")] * 2


def test_a_global_statement_assigns_on_the_engine_and_not_here(view, typed):
    space = typed("n = 5\ndef f():\n global n\n n += 1\n return n")
    assert view.apply_sync(space["f"]) == [6, 6]
    assert view.apply_sync(space["f"]) == [7, 7]
    assert view["n"] == [7, 7]
    assert space["n"] == 5


def test_nested_comprehensions_lambdas_and_methods_see_captured_helpers(rc, typed):
    source = """
def helper(x): return 10 * x
def f(n):
    class Local:
        unit = helper(1)
        def rows(self):
            return [[helper(i + j) for i in range(2)] for j in range(n)]
    made = {k: (lambda: helper(k))() for k in range(n)}
    return Local.unit, Local().rows(), made, sum(helper(i) for i in range(n))
"""
    f = typed(source)["f"]
    assert rc[0].apply_sync(f, 2) == (10, [[0, 10], [10, 20]], {0: 0, 1: 10}, 10)


def test_recursion_and_mutual_recursion_work(rc, typed):
    source = """
def fact(n): return 1 if n == 0 else n * fact(n - 1)
def even(n): return n == 0 or odd(n - 1)
def odd(n): return n != 0 and even(n - 1)
"""
    space = typed(source)
    assert rc[0].apply_sync(space["fact"], 20) == math.factorial(20)
    assert rc[0].map_sync(space["even"], range(4)) == [True, False, True, False]


def test_a_name_that_was_only_captured_is_not_in_the_namespace(rc, typed):
    f = typed("k = 3\ndef f(): return [k for _ in range(1)]")["f"]
    assert rc[0].apply_sync(f) == [3]
    with pytest.raises(NameError):
        rc[0]["k"]


def test_c_code_can_import_from_within_a_function_and_from_executed_code(rc, typed):
    source = """
import pickle, time
class C: pass
def f(): return time.strptime('2020', '%Y').tm_year, pickle.loads(pickle.dumps(abs)) is abs
"""
    assert rc[0].apply_sync(typed(source)["f"]) == (2020, True)
    rc[0].execute("import time\nyear = time.strptime('2021', '%Y').tm_year", block=True)
    assert rc[0]["year"] == 2021


def test_code_can_be_run_from_text_within_a_function(rc, typed):
    source = "k = 3\ndef f():\n exec('g = 4', globals())\n return eval('k + g + len([1])'), k"
    assert rc[0].apply_sync(typed(source)["f"]) == (8, 3)
    assert rc[0]["g"] == 4


def test_a_pushed_function_is_called_by_name_by_code_and_by_other_functions(view, typed):
    source = "def helper(x): return x + 1\ndef steps(xs): return [helper(x) for x in xs]"
    view.push({"steps": typed(source)["steps"]}, block=True)
    view.execute("done = steps([1, 2])", block=True)
    assert view["done"] == [[2, 3]] * 2
    assert view["steps([5])"] == [[6]] * 2
    assert view.apply_sync(oarlock.Reference("steps"), [7]) == [[8]] * 2
    assert view.apply_sync(typed("def f(): return steps([9])")["f"]) == [[10]] * 2


def test_a_function_defined_by_execute_can_be_called_by_sent_ones(view, typed):
    view.execute("def there(x): return ('engine', x)", block=True)
    assert view.apply_sync(typed("def f(x): return there(x)")["f"], 1) == [("engine", 1)] * 2


def test_what_a_task_defines_stays_for_the_next_one(view, typed):
    space = typed("def keep():\n global kept\n kept = []\ndef add(x):\n kept.append(x)")
    view.apply_sync(space["keep"])
    for x in range(3):
        view.apply_sync(space["add"], x)
    assert view["kept"] == [[0, 1, 2]] * 2


# --- kinds of callables


def test_lambdas_closures_partials_methods_and_callable_objects_travel(rc):
    n = 3

    def closure(x):
        return x + n

    class Local:
        def method(self, x):
            return -x

        @classmethod
        def of_class(cls, x):
            return cls.__name__, x

        @staticmethod
        def of_none(x):
            return x

    cases = [
        (lambda x: x * 2, 4),
        (closure, 5),
        (functools.partial(closure, 7), None),
        (functools.partial(operator.mul, 3), 6),
        (Local().method, -2),
        (Local.of_class, ("Local", 2)),
        (Local.of_none, 2),
        (operator.itemgetter(0), None),
        (math.sqrt, math.sqrt(2)),
        ("a{}b".format, "a2b"),
    ]
    arguments = {2: (), 7: ([None],)}
    for index, (f, expected) in enumerate(cases):
        got = [view.apply_sync(f, *arguments.get(index, (2,))) for view in rc]
        expected = closure(7) if index == 2 else expected
        assert got == [expected] * 2, f


def test_callable_objects_and_bound_methods_of_a_script_carry_their_state(rc, typed):
    source = """
class Scaler:
    def __init__(self, k): self.k = k
    def __call__(self, x): return self.k * x
    def times(self, x): return unit * self.k * x
unit = 100
"""
    scaler = typed(source)["Scaler"](3)
    assert rc[:].map_sync(scaler, range(3)) == [0, 3, 6]
    assert rc[:].map_sync(scaler.times, range(3)) == [0, 300, 600]
    scaler.k = 4
    assert rc[:].map_sync(scaler, range(3)) == [0, 4, 8]


def test_functions_can_be_arguments_and_results(rc, typed):
    space = typed(
        "k = 3\ndef twice(f, x): return f(f(x))\ndef add(x): return x + k\n"
        "def make(n): return lambda x: x + n + k"
    )
    assert rc[0].apply_sync(space["twice"], space["add"], 1) == 7
    assert rc[0].apply_sync(space["make"], 10)(1) == 14


def test_a_closure_keeps_its_state_between_the_calls_of_one_engine(rc):
    def counter():
        n = 0

        def count():
            nonlocal n
            n += 1
            return n

        return count

    count = counter()
    assert [rc[0].apply_sync(count) for _ in range(3)] == [1, 2, 3]
    assert rc[1].apply_sync(count) == 1
    assert count() == 1


def test_what_cannot_be_called_is_refused_at_once(view, lview):
    for some in (view, lview):
        with pytest.raises(TypeError, match="cannot be called"):
            some.apply_async(5)
        with pytest.raises(TypeError, match="cannot be called"):
            some.map_async("abs", [1])


def test_a_function_of_a_module_the_engine_lacks_fails_that_task_alone(rc, monkeypatch):
    module = types.ModuleType("only_here")
    exec("def f(x): return x", vars(module))
    monkeypatch.setitem(sys.modules, "only_here", module)
    bad = rc[0].apply_async(module.f, 1)
    good = rc[0].apply_async(abs, -1)
    with pytest.raises(ModuleNotFoundError, match="only_here") as caught:
        bad.get(20)
    assert isinstance(caught.value, error.RemoteError)
    assert good.get(20) == 1


def test_an_unpicklable_argument_is_an_error_here_and_sends_nothing(rc, view, lview):
    before = len(rc.history)
    for some in (view, lview):
        with pytest.raises(oarlock.SerializationError, match="argument"):
            some.apply_async(abs, (x for x in "ab"))
    assert len(rc.history) == before
    assert view.apply_sync(abs, -1) == [1, 1]


# --- references


def test_a_reference_means_the_engines_own_value(view):
    view.scatter("part", range(4), block=True)
    part = oarlock.Reference("part")
    assert view.apply_sync(sum, part) == [1, 5]
    assert view.apply_sync(lambda *a, **k: (list(a[0]["x"]), k), {"x": part}, y=1) == [
        ([0, 1], {"y": 1}),
        ([2, 3], {"y": 1}),
    ]
    assert view.apply_sync(functools.partial(max, part)) == [1, 3]


def test_a_reference_may_be_an_expression_and_the_function_itself(view):
    view.push({"a": [1, 2, 3]}, block=True)
    assert view.apply_sync(abs, oarlock.Reference("-sum(a)")) == [6, 6]
    view.execute("def f(x): return x + len(a)", block=True)
    f = oarlock.Reference("f")
    assert view.apply_sync(f, 1) == [4, 4]
    assert view.map_sync(f, range(3)) == [3, 4, 5]


def test_a_reference_is_looked_up_anew_for_each_call(rc):
    view = rc[0]
    for x in range(3):
        view.push({"x": x}, block=True)
        assert view.apply_sync(abs, oarlock.Reference("x")) == x


def test_a_missing_reference_fails_its_task_alone(rc):
    bad = rc[0].apply_async(abs, oarlock.Reference("nowhere"))
    good = rc[0].apply_async(abs, -1)
    with pytest.raises(NameError, match="nowhere"):
        bad.get(20)
    assert good.get(20) == 1
