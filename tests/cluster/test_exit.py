"""The interpreter ends with work pending: soon, silently, with status 0, and nothing stays."""

import subprocess
import sys
import tempfile
import textwrap
import threading
import time

import pytest

# Until the script has printed this, time is not counted: it starts Python and the engines.
READY = "ready"

START = """
import asyncio, atexit, os, sys, threading, time
import oarlock

def nap():
    time.sleep(60)

def ready():
    print("ready", flush=True)
"""

EMBEDDED = "rc = oarlock.Cluster(n=1).start_and_connect_sync()\nlview = rc.load_balanced_view()\n"


class Ended:
    """What a script did after it said that it is ready."""

    def __init__(self, script):
        source = START + textwrap.dedent(script)
        with (
            tempfile.TemporaryFile("w+") as err,
            subprocess.Popen(
                [sys.executable, "-c", source], stdout=subprocess.PIPE, stderr=err, text=True
            ) as process,
        ):
            # Ends what does not end, and with it all reading below.
            watch = threading.Timer(30, process.kill)
            watch.start()
            before = process.stdout.readline().strip()
            begin = time.monotonic()
            self.stdout = process.stdout.read()
            self.status = process.wait()
            self.took = time.monotonic() - begin
            watch.cancel()
            err.seek(0)
            self.stderr = err.read()
        assert before == READY, self.stderr


@pytest.fixture
def ends_well(leaks):
    """Run a script that must end soon, silently and with status 0; gives what it printed."""

    def run(script, *, embedded=True):
        ended = Ended((EMBEDDED if embedded else "") + textwrap.dedent(script))
        assert (ended.status, ended.stderr) == (0, "")
        # One second is promised; a hang is what this is to show.
        assert ended.took < 5
        leaks.check()
        return ended.stdout

    return run


def test_with_results_pending(ends_well):
    assert not ends_well("""
        results = [lview.apply_async(nap) for _ in range(5)]
        many = lview.map_async(abs, range(100_000))
        ready()
    """)


def test_with_a_task_that_does_not_heed_the_interrupt(ends_well):
    ends_well("""
        def stubborn():
            import signal
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(60)

        result = lview.apply_async(stubborn)
        while result.started is None:
            time.sleep(0.01)
        ready()
    """)


def test_with_daemon_threads_blocked_in_every_kind_of_wait(ends_well):
    assert not ends_well("""
        result = lview.apply_async(nap)
        many = lview.map_async(time.sleep, [60] * 3)
        waits = [
            result.get,
            result.wait,
            result.exception,
            result.wait_for_output,
            lambda: list(many),
            lambda: lview.map_sync(time.sleep, [60]),
            rc.wait,
            lambda: rc.wait(result),
            lambda: rc.wait_for_engines(5),
            lambda: result.wait(1000),
        ]
        for wait in waits * 4:
            threading.Thread(target=wait, daemon=True).start()
        ready()
    """)


def test_with_a_daemon_thread_that_submits(ends_well):
    assert not ends_well("""
        started = threading.Event()

        def submit():
            while True:
                lview.map_async(abs, range(1000)).get()
                started.set()

        for _ in range(3):
            threading.Thread(target=submit, daemon=True).start()
        started.wait(20)
        ready()
    """)


def test_with_callbacks_pending(ends_well):
    assert not ends_well("""
        result = lview.apply_async(nap)
        result.add_done_callback(lambda result: print("called", result))
        many = lview.map_async(time.sleep, [60] * 3)
        many.add_done_callback(lambda result: result.get())
        ready()
    """)


def test_in_the_middle_of_a_callback(ends_well):
    assert not ends_well("""
        inside = threading.Event()

        def call(result):
            inside.set()
            lview.apply_async(nap).get()
            print("came back")

        def wait_for(path):
            while not os.path.exists(path):
                time.sleep(0.01)

        gate = os.path.join(rc.cluster.directory, "gate")
        lview.apply_async(wait_for, gate).add_done_callback(call)
        open(gate, "w").close()
        inside.wait(20)
        ready()
    """)


def test_with_futures_waited_for_elsewhere(ends_well):
    assert not ends_well("""
        import concurrent.futures
        results = [lview.apply_async(nap) for _ in range(3)]
        threading.Thread(target=concurrent.futures.wait, args=(results,), daemon=True).start()
        ready()
    """)


def test_with_an_asyncio_loop_that_ended_before_the_results(ends_well):
    assert not ends_well("""
        async def main():
            waiting = asyncio.ensure_future(asyncio.wait_for(asyncio.shield(wrapped()), 0.05))
            try:
                await waiting
            except TimeoutError:
                pass

        async def wrapped():
            return await lview.apply_async(nap)

        asyncio.run(main())
        ready()
    """)


def test_with_an_asyncio_loop_in_a_daemon_thread(ends_well):
    assert not ends_well("""
        begun = threading.Event()

        async def main():
            pending = [lview.apply_async(nap) for _ in range(3)]
            waiting = [asyncio.ensure_future(one._arrival()) for one in pending]
            engines = asyncio.ensure_future(rc.cluster.start_engines(1))
            await asyncio.sleep(0)
            begun.set()
            await asyncio.gather(*waiting, engines)

        threading.Thread(target=asyncio.run, args=(main(),), daemon=True).start()
        begun.wait(20)
        ready()
    """)


def test_with_a_cluster_that_only_a_daemon_thread_refers_to(ends_well):
    assert not ends_well(
        """
        begun = threading.Event()

        def use():
            with oarlock.Cluster(n=1) as rc:
                rc.load_balanced_view().apply_async(nap)
                begun.set()
                rc.wait()

        threading.Thread(target=use, daemon=True).start()
        begun.wait(20)
        ready()
    """,
        embedded=False,
    )


def test_by_an_exception_of_the_script_shows_only_that(leaks):
    ended = Ended(EMBEDDED + "result = lview.apply_async(nap)\nready()\n1 / 0\n")
    assert ended.status == 1
    assert ended.stderr.startswith("Traceback")
    assert ended.stderr.count("Traceback") == 1
    assert ended.stderr.endswith("ZeroDivisionError: division by zero\n")


def test_by_sys_exit_keeps_the_status(leaks):
    ended = Ended(EMBEDDED + "result = lview.apply_async(nap)\nready()\nsys.exit(7)\n")
    assert (ended.status, ended.stderr) == (7, "")


def test_inside_the_with_block_shows_only_the_exception(leaks):
    ended = Ended("""
        with oarlock.Cluster(n=1) as rc:
            rc.load_balanced_view().apply_async(nap)
            ready()
            raise SystemExit(5)
    """)
    assert (ended.status, ended.stderr) == (5, "")
    assert ended.took < 5


def test_results_that_are_there_can_be_used_by_exit_handlers(ends_well):
    assert ends_well("""
        done = lview.apply_async(abs, -4)
        done.wait()
        atexit.register(lambda: print(done.get(), lview.apply_sync(abs, -5)))
        ready()
    """).split() == ["4", "5"]


def test_a_thread_that_is_no_daemon_is_waited_for(ends_well):
    assert (
        ends_well("""
        result = lview.apply_async(time.sleep, 0.2)
        threading.Thread(target=lambda: print(result.get())).start()
        ready()
    """)
        == "None\n"
    )


def test_of_a_client_of_a_cluster_elsewhere(new_client):
    rc = new_client(1)
    ended = Ended(f"""
        rc = oarlock.Client(directory={rc.cluster.directory!r})
        result = rc.load_balanced_view().apply_async(time.sleep, 0.3)
        for wait in (result.get, rc.wait):
            threading.Thread(target=wait, daemon=True).start()
        result.add_done_callback(print)
        ready()
    """)
    assert (ended.status, ended.stdout, ended.stderr) == (0, "", "")
    assert ended.took < 5
    assert rc[:].apply_sync(abs, -1) == [1]


def test_with_clients_in_cycles_and_modules_gone(ends_well):
    assert not ends_well("""
        class Holder:
            pass

        holder = Holder()
        holder.me, holder.rc, holder.result = holder, rc, lview.apply_async(nap)
        sys.holder = holder
        ready()
    """)


def test_after_a_cluster_that_was_never_connected(ends_well):
    assert not ends_well(
        """
        cluster = oarlock.Cluster(n=1)
        cluster.start_cluster_sync()
        ready()
    """,
        embedded=False,
    )


def test_while_engines_still_start(ends_well):
    assert not ends_well(
        """
        cluster = oarlock.Cluster(n=2)
        cluster.start_cluster_sync()
        rc = cluster.connect_client_sync()
        result = rc.load_balanced_view().apply_async(nap)
        ready()
    """,
        embedded=False,
    )
