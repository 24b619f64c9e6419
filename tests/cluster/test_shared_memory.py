"""Large arrays lie in memory that processes share, and nobody can tell but by the time it takes."""

import gc
import os
import signal
import subprocess
import sys
import textwrap
from typing import Any

import pytest

np: Any = pytest.importorskip("numpy")

#: Numbers in an array of three megabytes, well above what is worth sharing.
COUNT = 400_000


def open_files() -> int:
    """Descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))


def segments(pid: int | str = "self") -> int:
    """Descriptors and mappings of shared memory a process has."""
    found = 0
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found += os.readlink(f"/proc/{pid}/fd/{name}").startswith("/memfd:oarlock")
        except FileNotFoundError:  # the directory being listed was one of them
            pass
    with open(f"/proc/{pid}/maps") as maps:
        return found + sum("memfd:oarlock" in line for line in maps)


def test_a_large_array_is_mapped_not_copied(rc):
    array = np.arange(COUNT, dtype=float)

    def is_mapped(a):
        address = a.__array_interface__["data"][0]
        with open("/proc/self/maps") as maps:
            for line in maps:
                start, end = (int(part, 16) for part in line.split()[0].split("-"))
                if start <= address < end:
                    return "memfd:oarlock" in line
        return False

    assert rc[:].apply_sync(is_mapped, array) == [True, True]
    assert is_mapped(rc[0].apply_sync(lambda a: a + 1, array))


def test_what_an_engine_writes_stays_its_own(rc):
    view = rc[:]
    array = np.zeros(COUNT)

    def mark(a, number):
        import os

        a[:: 1000 + number] = os.getpid()
        return a, os.getpid()

    results = [rc[engine].apply_async(mark, array, engine) for engine in rc.ids]
    for engine, result in zip(rc.ids, results, strict=True):
        got, pid = result.get()
        expected = np.zeros(COUNT)
        expected[:: 1000 + engine] = pid
        assert np.array_equal(got, expected)
    assert not array.any()
    view.push({"shared": array}, block=True)
    rc[rc.ids[0]].execute("shared += 1", block=True)
    assert view["float(shared.sum())"] == [COUNT, 0.0]


def test_the_sender_may_change_its_array_after_sending(rc):
    array = np.zeros(COUNT)
    results = []
    for number in range(20):
        array[:] = number
        results.append(rc[0].apply_async(lambda a: (a.min(), a.max()), array))
    assert [result.get() for result in results] == [(n, n) for n in range(20)]


def test_an_array_that_comes_back_unchanged_is_whole_and_ones_own(rc):
    array = np.arange(COUNT, dtype=float)
    first = rc[0].apply_sync(lambda a: a, array)
    first[7] = -1
    second = rc[0].apply_sync(lambda a: a, first)
    assert second[7] == -1
    second[8] = -2
    assert first[8] == 8
    again = rc[1].apply_sync(lambda a: a[1000:], second)
    assert np.array_equal(again, second[1000:])
    assert np.array_equal(array, np.arange(COUNT))


def test_a_kept_outcome_does_not_change_with_the_array_one_got(rc):
    result = rc[0].apply_async(np.ones, COUNT)
    got = result.get()
    assert got.flags.writeable
    got[:] = 5
    same = rc.get_result(result.msg_ids[0]).get()
    assert same.sum() == COUNT
    same[:] = 6
    assert got.sum() == 5 * COUNT


def test_arrays_one_keeps_are_not_touched_by_later_ones(rc):
    kept = [rc[i % 2].apply_sync(np.full, 150_000, float(i)) for i in range(300)]
    assert all((array == i).all() for i, array in enumerate(kept))


def test_many_arrays_leave_no_descriptors_and_no_mappings(rc):
    view = rc[:]

    def growth():
        gc.collect()
        return segments()

    rng = np.random.default_rng(1)
    sizes = rng.integers(130_000, 600_000, 200)
    for size in sizes[:60]:
        view.apply_sync(lambda a: a * 2, np.ones(size))
    before = growth(), open_files(), view.apply_sync(open_files)
    for size in sizes:
        for got in view.apply_sync(lambda a: a * 2, np.ones(size)):
            assert got[0] == got[-1] == 2
    after = growth(), open_files(), view.apply_sync(open_files)
    assert after[0] <= before[0] + 40
    assert after[1] <= before[1] + 20
    assert all(now <= then + 20 for now, then in zip(after[2], before[2], strict=True))


def test_nothing_is_left_when_the_cluster_is_closed(new_client):
    gc.collect()
    before = segments()
    client = new_client(n=2)
    kept = client[0].apply_sync(lambda a: a + 1, np.zeros(COUNT))
    client[:].apply_sync(len, kept)
    client.close()
    client.cluster.stop_cluster_sync()
    assert kept.sum() == COUNT, "what one got stays"
    del kept, client
    gc.collect()
    assert segments() <= before


def test_an_engine_that_is_killed_takes_nothing_with_it(new_client):
    client = new_client(n=2)
    array = np.arange(COUNT, dtype=float)
    view = client[:]
    view.push({"held": array}, block=True)
    kept = client[0]["held + 1"]
    pid = client[0].apply_sync(os.getpid)
    os.kill(pid, signal.SIGKILL)
    for _ in range(30):
        assert client[1].apply_sync(lambda a: float(a.sum()), array) == array.sum()
        array += 1
    assert np.array_equal(kept, np.arange(COUNT) + 1)
    assert client[1]["float(held[-1])"] == COUNT - 1


def test_a_forked_child_keeps_its_arrays_as_they_were(rc):
    def fill(value):
        return np.full(COUNT, value)

    array = rc[0].apply_sync(fill, 1.0)
    ear, mouth = os.pipe()
    ready, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go)
        os.read(ready, 1)
        whole = bool((array == 1.0).all())
        array[:] = 3
        del array
        os.write(mouth, b"1" if whole else b"0")
        os._exit(0)
    os.close(ready)
    del array
    later = [rc[0].apply_sync(fill, 2.0) for _ in range(10)]
    os.close(go)
    assert os.read(ear, 1) == b"1"
    os.waitpid(pid, 0)
    os.close(ear)
    os.close(mouth)
    assert all((one == 2.0).all() for one in later)


def run(code: str) -> str:
    """Run code in a fresh process; what it wrote."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_few_descriptors_are_enough():
    code = """
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (72, 72))
        import numpy as np
        import oarlock

        with oarlock.Cluster(n=2) as client:
            view = client[:]
            kept = []
            for number in range(60):
                sent = [np.full(200_000, float(number + extra)) for extra in range(3)]
                results = [view.apply_async(lambda a: a + 1, array) for array in sent]
                kept += [array for result in results for array in result.get()]
            right = [n + e + 1 for n in range(60) for e in range(3) for _ in range(2)]
            assert all((a == value).all() for a, value in zip(kept, right, strict=True))
        print("done")
    """
    assert run(code) == "done"


def test_arrays_pass_through_a_controller_of_its_own(runtime_directory):
    code = """
        import subprocess, sys
        import numpy as np
        import oarlock

        command = [sys.executable, "-m", "oarlock"]
        subprocess.run([*command, "start", "-n", "2", "--daemonize", "--cluster-id", "shared"],
                       check=True, stdout=subprocess.DEVNULL)
        try:
            with oarlock.Client(cluster_id="shared") as client:
                array = np.arange(2_000_000.0)
                for number in range(20):
                    for got in client[:].apply_sync(lambda a: a + 1, array):
                        assert np.array_equal(got, array + 1)
                    array += 1
                result = client[0].apply_async(np.ones, 2_000_000)
                result.get()[:] = 2
                with oarlock.Client(cluster_id="shared") as other:
                    assert other.get_result(result.msg_ids[0]).get().sum() == 2_000_000
        finally:
            subprocess.run([*command, "stop", "shared"], check=True, stdout=subprocess.DEVNULL)
        print("done")
    """
    assert run(code) == "done"
