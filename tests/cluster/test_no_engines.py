"""Load-balanced tasks while no engine is there: they wait, people see why, and not for ever."""

import io
import sys

import pytest

import oarlock

DEADLINE = 20


def leave(code):
    import os

    os._exit(code)


@pytest.fixture
def empty(new_client):
    """A cluster whose only engine has ended, and that waits for ever."""
    rc = new_client(1)
    rc.engines_timeout = None
    assert isinstance(rc[0].apply_async(leave, 3).exception(DEADLINE), oarlock.EngineLost)
    return rc


def test_tasks_wait_a_minute_for_an_engine_unless_told_otherwise(rc, other):
    assert rc.engines_timeout == other.engines_timeout == 60
    with oarlock.Client(directory=rc.cluster.directory, engines_timeout=None) as third:
        assert third.engines_timeout is None


def test_tasks_end_with_what_became_of_the_last_engine(empty):
    lview = empty.load_balanced_view()
    single, several = lview.apply_async(abs, -1), lview.map_async(abs, [-1, -2], chunksize=1)
    assert not single.wait(0.05)
    empty.engines_timeout = 0.05
    with pytest.raises(oarlock.NoEnginesRegistered) as caught:
        single.get(DEADLINE)
    text = str(caught.value)
    assert single.msg_id in text
    assert "so the 3 tasks of this client that waited were given up" in text
    assert "the last, engine 0, ended: exit code 3" in text
    assert "\n\nhint: start engines" in text
    failures = several.get(DEADLINE, return_exceptions=True)
    assert [type(failure) for failure in failures] == 2 * [oarlock.NoEnginesRegistered]
    assert empty.outstanding == set()


def test_the_cluster_is_usable_after_tasks_were_given_up(empty):
    empty.engines_timeout = 0.05
    lview = empty.load_balanced_view()
    with pytest.raises(oarlock.NoEnginesRegistered):
        lview.apply_sync(abs, -1)
    empty.engines_timeout = None
    later = lview.apply_async(abs, -2)
    empty.cluster.start_engines_sync(1)
    assert later.get(DEADLINE) == 2


def test_each_client_says_how_long_its_own_tasks_wait(empty):
    mine = empty.load_balanced_view().apply_async(abs, -1)
    where = empty.cluster.directory
    with oarlock.Client(directory=where, engines_timeout=0.05) as other:
        theirs = other.load_balanced_view().apply_async(abs, -2)
        assert isinstance(theirs.exception(DEADLINE), oarlock.NoEnginesRegistered)
    assert not mine.done()
    mine.cancel()


def test_what_a_client_of_a_cluster_was_told_outlives_it(new_client):
    rc = new_client(0)
    cluster = rc.cluster
    rc.engines_timeout = 7
    rc.close()
    assert cluster.connect_client_sync().engines_timeout == 7


def test_the_time_is_a_number_that_is_not_negative(rc):
    for wrong in (-1, float("nan")):
        with pytest.raises(ValueError, match="engines_timeout"):
            rc.engines_timeout = wrong
        with pytest.raises(ValueError, match="engines_timeout"):
            oarlock.Cluster(n=1, engines_timeout=wrong)
        with pytest.raises(ValueError, match="engines_timeout"):
            oarlock.Client(directory=rc.cluster.directory, engines_timeout=wrong)
    with pytest.raises(TypeError):
        rc.engines_timeout = "soon"
    assert rc.engines_timeout == 60


@pytest.mark.parametrize("waits", ["result", "client"])
def test_the_line_of_progress_says_that_no_engine_is_there(empty, waits, monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    result = empty.load_balanced_view().apply_async(abs, -1)
    waiter = result if waits == "result" else empty
    waiter.wait_interactive(interval=0.01, timeout=0.05)
    remark, line = out.getvalue().splitlines()
    assert remark.startswith("no engine is there, so what is left waits for one; hint: start")
    assert "0/1 tasks" in line
    assert line.endswith(", 0 engines")
    empty.engines_timeout = 60
    with pytest.raises(TimeoutError, match="waits for one, for 60 s at most"):
        result.get(0.01)
    result.cancel()
