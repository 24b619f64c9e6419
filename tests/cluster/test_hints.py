"""What a person is told who took a wrong turn: what is the matter, and what to do about it."""

import io
import re
import subprocess
import sys
import threading

import pytest

import oarlock
from oarlock import error

OPEN = "hint: get the results inside the `with` block"


def notes(raised):
    """All that was noted on an exception."""
    return "".join(getattr(raised, "__notes__", ()))


# --- no engine


def test_a_task_that_waits_for_the_first_engine_says_so_and_runs_when_one_comes(
    new_client, monkeypatch
):
    rc = new_client(0)
    result = rc.load_balanced_view().apply_async(abs, -1)
    with pytest.raises(TimeoutError, match="no engine is there") as caught:
        result.get(0.01)
    assert "hint: start engines with `client.cluster.start_engines_sync(n)`" in str(caught.value)
    assert "go on" not in str(caught.value)
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    result.wait_interactive(interval=0.01, timeout=0.1)
    assert out.getvalue().count("no engine is there") == 1, "each remark is made once"
    assert "start_engines_sync" in out.getvalue()
    rc.cluster.start_engines_sync(1)
    assert result.get(20) == 1


def test_a_client_of_a_cluster_elsewhere_is_told_a_command_that_starts_an_engine(new_client):
    with oarlock.Client(directory=new_client(0).cluster.directory) as other:
        result = other.load_balanced_view().apply_async(abs, -1)
        with pytest.raises(TimeoutError) as caught:
            result.get(0.01)
        (command,) = re.findall(r"`python (-m .*)`", str(caught.value))
        with subprocess.Popen([sys.executable, *command.split()]) as engine:
            assert result.get(20) == 1
            other.shutdown(block=True)
            assert engine.wait(20) == 0


def test_a_bar_on_a_cluster_with_engines_makes_no_remark(lview, gate, monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    result = lview.apply_async(gate.hold)
    result.wait_interactive(interval=0.01, timeout=0.05)
    assert "engine" not in out.getvalue()
    with pytest.raises(TimeoutError, match="the others go on"):
        result.get(0.01)
    gate.release()
    assert result.wait(20)


# --- after the end


def test_a_result_asked_for_after_the_with_block_tells_where_to_ask(leaks):
    with oarlock.Cluster(n=1) as rc:
        view = rc.load_balanced_view()
        one = view.apply_async(_sleep, 60)
        several = view.map_async(_sleep, [60, 60])
    for result in (one, several):
        with pytest.raises(error.ClosedClient) as caught:
            result.get(5)
        assert str(caught.value).count(OPEN) == 1
    with pytest.raises(error.ClosedClient, match=r"oarlock\.Cluster\(\)"):
        rc[:]
    assert rc.ids == []
    assert len(rc) == 0
    assert repr(rc) == "<oarlock.Client closed>"


def test_a_client_whose_controller_was_stopped_has_no_engines_and_says_how_to_start_again(leaks):
    cluster = oarlock.Cluster(n=1)
    rc = cluster.start_and_connect_sync()
    with oarlock.Client(directory=cluster.directory) as other:
        assert other.ids == [0]
        result = other.load_balanced_view().apply_async(_sleep, 60)
        cluster.stop_cluster_sync()
        with pytest.raises(error.ControllerLost) as caught:
            result.get(20)
        assert str(caught.value).count("hint: start a cluster again (`oarlock start -n 4`") == 1
        for client in (rc, other):
            assert client.ids == []
            assert len(client) == 0
            assert repr(client) == "<oarlock.Client closed>"


@pytest.mark.parametrize("what", ["wall_time", "serial_time", "display_outputs"])
def test_what_is_known_at_the_end_only_says_to_wait(lview, gate, what):
    result = lview.apply_async(gate.hold)
    with pytest.raises(TimeoutError, match=r"hint: call wait\(\) first"):
        result.display_outputs() if what == "display_outputs" else getattr(result, what)
    gate.release()
    assert result.wait(20)


# --- a cluster is no client


@pytest.mark.parametrize(
    "use",
    [
        lambda cluster: cluster[:],
        list,
        lambda cluster: cluster.ids,
        lambda cluster: cluster.load_balanced_view(),
    ],
)
def test_a_cluster_taken_for_its_client_says_where_the_client_is(use):
    with pytest.raises((AttributeError, TypeError)) as caught:
        use(oarlock.Cluster(2))
    assert "`with oarlock.Cluster(n=2) as rc:`" in str(caught.value)
    assert "start_and_connect_sync()" in str(caught.value)


def test_what_neither_a_cluster_nor_a_client_has_is_a_plain_attribute_error():
    with pytest.raises(AttributeError, match=r"no attribute 'nothing'$"):
        _ = oarlock.Cluster(2).nothing


def test_the_number_of_engines_may_be_the_first_argument():
    assert oarlock.Cluster(4).n == 4


def test_a_cluster_id_given_as_the_place_is_recognised(leaks):
    with oarlock.Cluster(n=0, cluster_id="nm"):
        with pytest.raises(FileNotFoundError, match=r"did you mean .*cluster_id='nm'"):
            oarlock.Client("nm")
        with pytest.raises(FileNotFoundError) as caught:
            oarlock.Client("other")
        assert "did you mean" not in str(caught.value)


# --- views


def test_a_flag_misspelt_is_refused_and_anything_else_may_be_set(rc, view, lview):
    with pytest.raises(AttributeError, match="did you mean 'block'"):
        view.blok = True
    with pytest.raises(AttributeError, match="did you mean 'chunksize'"):
        lview.chunk_size = 3
    assert not hasattr(view, "blok")
    view.purpose = "mine"
    assert view.purpose == "mine"


def test_a_block_flag_that_is_a_text_is_refused(view):
    with pytest.raises(TypeError, match="'yes'"):
        view.block = "yes"
    assert view.block is False


def test_pushes_and_pulls_go_by_their_public_names(view):
    assert "(push)" in repr(view.push({"a": 1}, block=False))
    assert "(pull)" in repr(view.pull("a", block=False))


# --- what could not travel

LOCKED = {
    "at its top": "def use():\n    with lock: return 1",
    "in a function inside": "def use():\n    def deeper():\n        with lock: return 1\n"
    "    return deeper()",
    "in a comprehension": "def use():\n    return [lock for _ in 'ab']",
}


@pytest.mark.parametrize("where", LOCKED)
def test_a_global_that_could_not_be_sent_is_named_with_the_reason(rc, typed, where):
    use = typed(LOCKED[where], lock=threading.Lock())["use"]
    with pytest.raises(NameError, match="name 'lock' is not defined") as caught:
        rc[0].apply_sync(use)
    told = notes(caught.value)
    assert "global 'lock' of the client was not sent: TypeError: cannot pickle" in told
    assert "hint: push a value of that name" in told


def test_a_name_that_the_client_lacks_too_is_not_said_to_be_unsent(rc, typed):
    source = "def use(locked=False):\n    return lock if locked else absent"
    use = typed(source, lock=threading.Lock())["use"]
    with pytest.raises(NameError, match="'absent'") as caught:
        rc[0].apply_sync(use)
    assert "was not sent" not in notes(caught.value)


def test_a_failure_inside_a_failure_has_one_hint(rc, view):
    result = view.apply_async(abs, -1)
    with pytest.raises(error.SerializationError) as caught:
        view.apply_async(len, [result])
    assert str(caught.value).count("hint:") == 1
    assert str(caught.value).rstrip().splitlines()[-1].startswith("hint:")
    assert result.get() == [1, 1]


# --- grammar


def test_an_exception_without_a_text_has_no_colon(rc, view):
    def fail():
        raise ValueError

    with pytest.raises(ValueError, match=r"ValueError$") as one:
        rc[0].apply_sync(fail)
    assert str(one.value) == "[0:apply] ValueError"
    with pytest.raises(error.CompositeError) as several:
        view.apply_sync(fail)
    assert str(several.value).splitlines()[1:] == ["[0:apply]: ValueError", "[1:apply]: ValueError"]


def test_one_engine_is_one_engine(new_client):
    assert "1 engine>" in repr(new_client(1))


def test_what_is_no_function_is_told_with_its_type(view):
    with pytest.raises(TypeError, match="its type is int, which cannot be called"):
        view.apply_async(5)


def _sleep(seconds):
    import time

    time.sleep(seconds)
