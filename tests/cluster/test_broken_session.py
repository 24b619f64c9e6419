"""A session that breaks while the engine's process lives: the engine comes back as a new one."""

import os

import pytest

import oarlock

DEADLINE = 20


def cut(hold):
    """End the connection of this engine at the controller's door, and go on as `hold` does.

    A task that ended at once might be told before the end of the connection is noticed.
    """
    import os
    import socket
    import stat

    ended = 0
    for number in map(int, os.listdir("/proc/self/fd")):
        try:
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
            with socket.socket(fileno=os.dup(number)) as found:
                # The one side of a connection has no name of its own.
                if str(found.getpeername()).endswith("door.sock"):
                    found.shutdown(socket.SHUT_RDWR)
                    ended += 1
        except OSError:
            continue
    assert ended == 1
    return hold()


def come_back(rc, version):
    """Wait until the lost engine is there again; gives its new id."""
    while not rc.ids or 0 in rc.ids:
        assert rc._core.wait_engines_change(version, DEADLINE), "the engine never came back"
        version = rc._core.engines_version()
    (engine,) = rc.ids
    return engine


@pytest.mark.parametrize("ends", ["before it is back", "after it is back"])
def test_the_engine_comes_back_under_a_new_id_and_stays(new_client, gate, ends):
    rc = new_client(1)
    pid = rc[0].apply_sync(os.getpid)
    version = rc._core.engines_version()
    told = []
    lost = rc[0].apply_async(cut, gate.hold)
    behind = rc[0].apply_async(abs, -1)
    lost.add_done_callback(told.append)
    for result in (lost, behind):
        assert isinstance(result.exception(DEADLINE), oarlock.EngineLost)
    if ends == "before it is back":
        gate.release()
    engine = come_back(rc, version)
    assert engine == 1
    version = rc._core.engines_version()
    if ends == "after it is back":
        gate.release()
    assert rc[engine].apply_sync(os.getpid) == pid
    assert rc.load_balanced_view().map_async(abs, range(-100, 0)).get(DEADLINE)[0] == 100
    assert not rc._core.wait_engines_change(version, 1.0), "it left again"
    assert rc[engine].apply_sync(os.getpid) == pid
    # What it said of its old task since then changes nothing.
    assert isinstance(lost.exception(), oarlock.EngineLost)
    assert told == [lost]
    assert not rc.outstanding


def test_functions_and_names_are_there_again(new_client, gate):
    rc = new_client(1)

    def double(x):
        return 2 * x

    rc[0].push({"a": 1}, block=True)
    assert rc[0].apply_sync(double, 1) == 2
    version = rc._core.engines_version()
    lost = rc[0].apply_async(cut, gate.hold)
    assert isinstance(lost.exception(DEADLINE), oarlock.EngineLost)
    gate.release()
    view = rc[come_back(rc, version)]
    assert view.apply_sync(double, 2) == 4
    assert view["a"] == 1
