"""Direct views on real engines: the same work on each, and data in their namespaces."""

import functools
import operator
import os

import pytest

import oarlock
from oarlock import error


def pids(rc):
    return [pid for _, _, pid, _ in rc._core.engines()]


# --- apply


def test_a_call_runs_once_on_every_engine_and_values_come_in_order_of_targets(rc):
    assert rc[:].apply_sync(os.getpid) == pids(rc)
    assert rc[[1, 0]].apply_sync(os.getpid) == pids(rc)[::-1]


def test_one_engine_by_number_gives_a_bare_value_and_a_list_of_one_gives_a_list(rc):
    assert rc[1].apply_sync(os.getpid) == pids(rc)[1]
    assert rc[[1]].apply_sync(os.getpid) == [pids(rc)[1]]
    assert rc[1:].apply_sync(os.getpid) == [pids(rc)[1]]


def test_the_result_is_a_dict_by_engine_on_request(rc, view):
    assert view.apply_async(os.getpid).get_dict(20) == dict(zip(rc.ids, pids(rc), strict=True))


def test_apply_waits_only_when_block_is_set(view, gate):
    result = view.apply(gate.hold, "value")
    assert isinstance(result, oarlock.AsyncResult)
    assert not result.ready()
    gate.release(2)
    assert result.get(20) == ["value"] * 2
    view.block = True
    assert view.apply(abs, -1) == [1, 1]


def test_all_keyword_names_belong_to_the_function(view):
    names = {"f": 1, "block": 2, "targets": 3, "self": 4, "label": 5}
    assert view.apply_sync(dict, **names) == [names] * 2


def test_calls_on_one_engine_run_in_order(rc):
    view = rc[0]
    view.push({"seen": []}, block=True)
    for i in range(50):
        view.apply_async(operator.iadd, oarlock.Reference("seen"), [i])
    assert view["seen"] == list(range(50))


def test_a_label_is_in_the_metadata_of_its_tasks_only(view):
    with view.temp_flags(label="mine"):
        labelled = view.apply_async(abs, 1)
    plain = view.apply_async(abs, 1)
    assert labelled.label == ["mine"] * 2
    assert plain.label == [None] * 2
    assert view.map_async(abs, [1], label="map").label == ["map"]
    assert view.execute("pass", label="run").label == ["run"] * 2
    view.wait()


def test_all_is_looked_up_at_each_call_and_a_list_is_not(new_client):
    rc = new_client(1)
    everyone, then = rc.direct_view(), rc[:]
    assert everyone.targets == "all"
    rc.cluster.start_engines_sync(1)
    rc.wait_for_engines(2, timeout=30)
    assert len(everyone.apply_sync(os.getpid)) == len(everyone) == 2
    assert len(then.apply_sync(os.getpid)) == len(then) == 1


def test_a_view_of_an_engine_that_is_not_there_says_so_and_sends_nothing(rc):
    view = rc.direct_view([0, 99])
    before = len(rc.history)
    with pytest.raises(oarlock.EngineGone, match="engine 99 is not connected") as caught:
        view.apply_async(abs, 1)
    assert isinstance(caught.value, KeyError)
    assert isinstance(caught.value, error.EngineError)
    assert len(rc.history) == before


def test_a_view_without_engines_raises_at_once(rc, new_client):
    with pytest.raises(oarlock.NoEnginesRegistered, match="wait_for_engines"):
        rc[()].apply_async(abs, 1)
    empty = new_client(0)
    for call in (
        lambda view: view.apply_async(abs, 1),
        lambda view: view.map_async(abs, [1]),
        lambda view: view.push({"a": 1}),
        lambda view: view.execute("pass"),
        lambda view: view.scatter("a", [1]),
        lambda view: view.gather("a"),
    ):
        with pytest.raises(oarlock.NoEnginesRegistered):
            call(empty.direct_view())


# --- map


def test_map_gives_each_engine_one_contiguous_chunk(view):
    result = view.map_async(lambda x: (x, os.getpid()), range(7))
    values = result.get(20)
    assert [x for x, _ in values] == list(range(7))
    assert len(result.msg_ids) == 2
    assert [pid for _, pid in values] == [values[0][1]] * 4 + [values[-1][1]] * 3
    assert values[0][1] != values[-1][1]


def test_map_stops_at_the_shortest_sequence(view):
    assert view.map_sync(operator.add, range(5), [10, 20, 30]) == [10, 21, 32]
    assert view.map_sync(pow, (i for i in (1, 2, 3)), {2: "a", 3: "b"}, [7] * 9) == [1, 1]


def test_map_over_nothing_is_an_empty_list_and_done_at_once(view):
    result = view.map_async(abs, [])
    assert result.ready()
    assert result.get() == list(result) == view.map_sync(abs, ()) == []
    assert len(view.history) == 0


def test_fewer_items_than_engines_make_fewer_tasks(view):
    result = view.map_async(abs, [-1])
    assert result.get(20) == [1]
    assert len(result.msg_ids) == 1


def test_map_takes_any_kind_of_sequence(view):
    numpy = pytest.importorskip("numpy")
    assert view.map_sync(str.upper, "abc") == ["A", "B", "C"]
    assert view.map_sync(abs, range(-3, 3)) == [3, 2, 1, 0, 1, 2]
    assert view.map_sync(int, b"ab") == [97, 98]
    assert view.map_sync(len, {"x": 1, "yy": 2}) == [1, 2]
    assert sorted(view.map_sync(abs, {-1, 2, 3})) == [1, 2, 3]
    rows = numpy.arange(6).reshape(3, 2)
    assert view.map_sync(lambda row: int(row.sum()), rows) == [1, 5, 9]
    values = view.map_sync(lambda x: x, numpy.arange(3))
    assert isinstance(values, list)
    assert all(isinstance(value, numpy.integer) for value in values)


def test_map_refuses_what_it_does_not_know(view):
    with pytest.raises(TypeError, match="at least one sequence"):
        view.map(abs)
    with pytest.raises(TypeError, match="not iterable"):
        view.map(abs, 5)
    with pytest.raises(TypeError, match="chunksize"):
        view.map(abs, [1], chunksize=2)
    for method in (view.map_sync, view.map_async):
        with pytest.raises(TypeError, match="block"):
            method(abs, [1], block=True)
    assert len(view.history) == 0


def test_map_follows_block(view):
    assert view.map(abs, [-1], block=True) == [1]
    view.block = True
    assert view.map(abs, [-1]) == [1]
    assert isinstance(view.map(abs, [-1], block=False), oarlock.AsyncMapResult)
    view.wait()


def test_an_input_that_fails_raises_its_own_error_and_sends_nothing(view):
    def broken():
        yield 1
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        view.map_async(abs, broken())
    assert len(view.history) == 0


def test_one_bad_item_spoils_no_other(view):
    result = view.map_async(lambda x: 6 // x, [3, 0, 2, 1], return_exceptions=True)
    values = result.get(20)
    assert [values[0], values[2], values[3]] == [2, 3, 6]
    assert isinstance(values[1], ZeroDivisionError)
    with pytest.raises(oarlock.CompositeError) as caught:
        view.map_sync(lambda x: 6 // x, [3, 0, 2, 1])
    assert isinstance(caught.value.exceptions[0], ZeroDivisionError)


def test_map_feeds_reduce_and_imap_iterates(view):
    assert functools.reduce(operator.add, view.map(lambda x: x * x, range(10))) == 285
    assert list(view.imap(abs, range(-3, 0))) == [3, 2, 1]


# --- data


def test_push_and_pull_in_all_their_forms(rc, view):
    assert view.push({"a": 1, "b": [2]}, block=True) == [None, None]
    assert rc[0].push({"only": 0}, block=True) is None
    assert view.pull("a", block=True) == [1, 1]
    assert view.pull(["a", "b"], block=True) == [[1, [2]]] * 2
    assert view.pull(("a + 1",), block=True) == [[2]] * 2
    assert rc[1].pull("b[0]", block=True) == 2
    assert view.pull("a", targets=1, block=True) == 1
    assert view.pull("a").get(20) == [1, 1]
    assert view.get("b") == view["b"] == [[2]] * 2
    assert rc[0]["only"] == 0


def test_push_assigns_to_attributes_and_items(rc):
    rc[0].execute("class Box: pass\nbox, items = Box(), [0, 0]", block=True)
    rc[0].push({"box.a": 1, "items[1]": 2}, block=True)
    assert rc[0].pull(["box.a", "items"], block=True) == [1, [0, 2]]


def test_update_and_item_assignment_push_with_the_views_flags(view):
    result = view.update({"a": 1})
    assert isinstance(result, oarlock.AsyncResult)
    view["b"] = 2
    assert view.pull(["a", "b"], block=True) == [[1, 2]] * 2
    view.block = True
    assert view.update({"a": 3}) == [None, None]


def test_each_engine_has_a_namespace_of_its_own(rc, view):
    view["x"] = "both"
    rc[0]["x"] = "first"
    assert view["x"] == ["first", "both"]


def test_a_missing_name_is_a_name_error_of_each_engine(rc, view):
    with pytest.raises(NameError, match="name 'missing' is not defined"):
        rc[0]["missing"]
    with pytest.raises(oarlock.CompositeError) as caught:
        view["missing"]
    assert [entry[0] for entry in caught.value.elist] == ["NameError", "NameError"]
    assert not isinstance(rc[0].apply_sync(abs, -1), Exception)


@pytest.mark.parametrize("ns", [[1], "a", None, {1: 2}])
def test_push_refuses_what_is_no_dict_of_names(view, ns):
    with pytest.raises(TypeError, match="dict of values by name"):
        view.push(ns)


@pytest.mark.parametrize("names", [5, [1], None, {"a": 1}])
def test_pull_refuses_what_is_no_name(view, names):
    with pytest.raises(TypeError, match="takes a name"):
        view.pull(names)
    with pytest.raises(TypeError, match="indexed by a name"):
        view[0]
    with pytest.raises(TypeError, match="not iterable"):
        iter(view)


def test_clear_empties_namespaces_and_leaves_engines_usable(view):
    view.push({"a": 1}, block=True)
    assert view.clear(targets=0, block=True) is None
    with pytest.raises(NameError):
        view.pull("a", targets=0, block=True)
    assert view.pull("a", targets=1, block=True) == 1
    view.clear().get(20)
    assert (
        view.apply_sync(lambda: sorted(k for k in globals() if not k.startswith("__"))) == [[]] * 2
    )
    assert view.apply_sync(abs, -1) == [1, 1]


# --- code


def test_execute_runs_code_and_keeps_what_it_defines(view):
    result = view.execute("import os\nwho = os.getpid()\nprint('here', who)", block=True)
    assert isinstance(result, oarlock.AsyncResult)
    who = view["who"]
    assert result.stdout == [f"here {pid}\n" for pid in who]
    assert len(set(who)) == 2


def test_an_error_in_executed_code_is_raised_and_shows_its_line(rc, view):
    with pytest.raises(ZeroDivisionError) as caught:
        rc[0].execute("x = 1\nx / 0", block=True)
    assert "x / 0" in caught.value.traceback
    with pytest.raises(oarlock.CompositeError):
        view.execute("1 / 0", block=True)
    result = view.execute("1 / 0")
    result.wait(20)
    assert not result.successful()
    with pytest.raises(SyntaxError):
        rc[0].execute("def", block=True)
    with pytest.raises(TypeError, match="as a str"):
        view.execute(b"x = 1")


def test_run_executes_a_local_file(view, tmp_path):
    path = tmp_path / "code.py"
    path.write_text("def f(x):\n    return 2 * x\nif True:\n    y = f(21)  # no newline follows")
    view.run(path, block=True)
    assert view["y"] == [42, 42]
    with pytest.raises(FileNotFoundError):
        view.run(tmp_path / "missing.py")


def test_imports_in_a_block_are_repeated_on_the_engines(view, capsys):
    with view.sync_imports():
        import json as js
        from os import path, sep
    assert js.dumps(path.join(sep, "a"))
    assert view["js.dumps(path.join(sep, 'a'))"] == ['"/a"'] * 2
    assert "import json as js" in capsys.readouterr().out


# --- flags


def test_temp_flags_hold_for_the_block_only(view):
    with view.temp_flags(block=True, targets=[1]):
        assert view.apply(abs, -1) == [1]
    assert (view.block, view.targets) == (False, [0, 1])
    with pytest.raises(RuntimeError), view.temp_flags(block=True):
        raise RuntimeError
    assert view.block is False


def test_set_flags_sets_all_or_none(view):
    assert view.set_flags(block=True, label="x") is view
    assert (view.block, view.label) == (True, "x")
    with pytest.raises(KeyError, match="no flag"):
        view.set_flags(block=False, chunksize=3)
    with pytest.raises(TypeError, match="targets must be"):
        view.set_flags(label="y", targets="some")
    assert (view.block, view.label) == (True, "x")


def test_a_view_takes_block_from_the_client_when_it_is_made(rc):
    before = rc[:]
    rc.block = True
    assert rc[:].apply(abs, -1) == [1, 1]
    assert before.block is False


def test_a_view_shows_its_targets_in_short(rc):
    assert repr(rc[:]) == "<DirectView [0, 1]>"
    assert repr(rc[0]) == "<DirectView 0>"
    assert repr(rc.direct_view(list(range(50)))) == "<DirectView [0, 1, 2, 3,...]>"
    assert (len(rc[:]), len(rc[0]), len(rc.direct_view())) == (2, 1, 2)


def test_the_history_of_a_view_is_what_went_through_it_in_order(rc, view):
    other = rc[0]
    ids = view.apply_async(abs, 1).msg_ids
    other.apply_async(abs, 1)
    ids += view.map_async(abs, [1, 2, 3]).msg_ids + view.execute("pass").msg_ids
    assert view.history == ids
    assert len(other.history) == 1
    view.wait()
    assert view.outstanding == set()
