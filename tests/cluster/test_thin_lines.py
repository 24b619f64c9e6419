"""Engines and clients behind a line that is slow, thin, or torn: see `line.py`.

Sessions through real networks that drop packets are in ``test_partitions.py``.
"""

import collections
import os
import signal

import pytest

import oarlock

from .far import PATIENCE, Far
from .line import Line
from .marking import marking
from .waiting import wait_until

#: The longest that anything here takes, in seconds, if nothing is wrong.
LONG = 60


@pytest.fixture
def far(leaks, tmp_path):
    """A cluster behind a gate, without engines of its own."""
    cluster = Far(tmp_path, "--lease", "20", engines=0)
    yield cluster
    cluster.end()
    leaks.check()


def test_a_map_completes_over_a_line_that_takes_long_and_nobody_is_taken_for_lost(far, tmp_path):
    mark, executions = marking(tmp_path)
    with Line(far.file, delay=0.2, jitter=0.1) as line:
        far.file = line.card(tmp_path / "line.json")
        for _ in range(2):
            far.engine()
        with far.client(timeout=LONG) as rc:
            rc.wait_for_engines(2, timeout=LONG)
            engines = rc.ids
            results = rc.load_balanced_view().map(mark, range(400))
            # Asked meanwhile, it answers.
            assert set(rc.queue_status()) == {"unassigned", *engines}
            assert list(results.get(timeout=LONG)) == [-item for item in range(400)]
            assert executions() == collections.Counter(range(400))
            assert rc.ids == engines
            assert {status["state"] for status in rc.engine_status().values()} == {"alive"}
        far.end()


def test_a_small_task_is_not_stuck_behind_a_large_array_in_a_thin_line(far, tmp_path):
    np = pytest.importorskip("numpy")
    with Line(far.file, delay=0.02, rate=512 * 1024) as line:
        near, far.file = far.file, line.card(tmp_path / "line.json")
        far.engine()
        far.file = near
        with far.client() as rc:
            rc.wait_for_engines(1, timeout=LONG)
            engine, view = rc.ids, rc[:]
            # Three seconds on the way back, in which the same engine does other things.
            large = view.apply(lambda: __import__("numpy").arange(200_000))
            for item in range(5):
                assert view.apply(abs, -item).get(timeout=LONG) == [item]
                assert not large.ready()
            (array,) = large.get(timeout=LONG)
            assert (array == np.arange(200_000)).all()
            # And as long on the way there.
            assert view.apply(lambda array: int(array.sum()), array).get(timeout=LONG) == [
                int(array.sum())
            ]
            assert rc.ids == engine
            assert {status["state"] for status in rc.engine_status().values()} == {"alive"}
        far.end()


def test_a_map_completes_over_a_line_of_64_kib_a_second(far, tmp_path):
    with Line(far.file, delay=0.05, jitter=0.05, rate=64 * 1024) as line:
        near, far.file = far.file, line.card(tmp_path / "line.json")
        far.engine()
        far.file = near
        with far.client() as rc:
            rc.wait_for_engines(1, timeout=LONG)
            engine = rc.ids
            results = rc.load_balanced_view().map(len, [bytes(1000)] * 200)
            assert list(results.get(timeout=LONG)) == [1000] * 200
            assert rc.ids == engine
        far.end()


def test_a_client_follows_a_killed_controller_over_a_line_that_takes_long(
    leaks, tmp_path, wait_exit
):
    far = Far(tmp_path, "--lease", "60")
    with Line(far.file, delay=0.3) as line:
        with oarlock.Client(line.card(tmp_path / "line.json"), timeout=LONG) as rc:
            assert rc[:].apply_sync(abs, -1) == [1]
            os.kill(far.record.pid, signal.SIGKILL)
            assert wait_exit(far.record.pid, PATIENCE)
            wait_until(lambda: rc.away, "the client knows")
            far.start_again()
            assert rc.load_balanced_view().apply(abs, -2).get(timeout=LONG) == 2
            assert not rc.away
        far.end()
    leaks.check()


def test_who_leaves_through_a_thin_line_has_said_all_that_it_said(leaks, tmp_path):
    far = Far(tmp_path, "--lease", "20")
    with Line(far.file, rate=64 * 1024) as line:
        file = line.card(tmp_path / "line.json")
        with oarlock.Client(file) as rc:
            task = rc.load_balanced_view().apply(len, bytes(300_000))
        # It is gone, and some seconds passed until all of that was taken.
        with far.client() as other:
            assert other.get_result(task.msg_ids[0]).get(timeout=LONG) == 300_000
        far.end()
    leaks.check()


@pytest.mark.parametrize("which", [(), (0,), (1,), (2,)], ids=["all", "door", "one lane", "other"])
def test_whichever_connection_is_torn_the_engine_comes_back_and_tasks_go_on(far, tmp_path, which):
    with Line(far.file) as line:
        near, far.file = far.file, line.card(tmp_path / "line.json")
        far.engine()
        far.file = near
        with far.client() as rc:
            rc.wait_for_engines(1, timeout=LONG)
            (engine,) = rc.ids
            assert rc[:].apply_sync(abs, -1) == [1]
            assert line.came == 3
            # Nothing is said at that moment, so that nothing but the connection tells.
            assert line.tear(*which) == (3 if not which else 1)
            wait_until(lambda: rc.ids and engine not in rc.ids, "it comes back as another")
            assert rc[:].apply_sync(abs, -2) == [2]
        far.end()


def test_a_line_that_is_torn_again_and_again_in_the_middle_of_a_map_costs_retries_only(
    far, tmp_path
):
    mark, executions = marking(tmp_path)
    with Line(far.file, delay=0.01) as line:
        near, far.file = far.file, line.card(tmp_path / "line.json")
        far.engine()
        far.file = near
        with far.client() as rc:
            rc.wait_for_engines(1, timeout=LONG)
            view = rc.load_balanced_view(retries=20)
            results = view.map(
                lambda item: __import__("time").sleep(0.01) or mark(item), range(200)
            )
            # What an engine held may have been begun each time, and three are enough.
            for _ in range(2):
                wait_until(lambda: rc.ids, "an engine is there")
                (engine,) = rc.ids
                line.tear()
                wait_until(lambda: engine not in rc.ids, "its connections were reset")  # noqa: B023
            assert list(results.get(timeout=PATIENCE)) == [-item for item in range(200)]
            assert set(executions()) == set(range(200))
        far.end()
