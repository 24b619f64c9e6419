"""Who floods the gate of a cluster and is not of it: what that costs, and that nobody feels it.

What the gate does with each of them is in ``src/transport/tests/gatecrashers.rs``.
"""

import collections
import contextlib
import os
import resource
import socket
import ssl
import threading

import pytest

from .far import PATIENCE
from .waiting import wait_until


def test_strangers_at_the_gate_are_told_once_and_everybody_else_is_served(far):
    frame = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(52, b"\0") + b"\x02\x40" + bytes(7)
    strangers = []
    with far.client() as rc:
        for number in range(1000):
            stranger = socket.create_connection(("127.0.0.1", far.port), PATIENCE)
            if number % 4 == 0:
                stranger.sendall(frame)
            strangers.append(stranger)
            if number % 250 == 0:
                assert rc[:].apply_sync(abs, -number) == [number]
                with far.client() as other:
                    assert other.ids == rc.ids
        for stranger in strangers:
            stranger.close()
        with open(os.path.join(far.record.directory, "door.log")) as log:
            told = log.read()
        assert told.count("a peer at 127.0.0.1: it does not speak the protocol") == 1
        assert rc[:].apply_sync(abs, -1) == [1]


def handshakes(port, count, spoil):
    """So many strangers, each of which says what a peer would, but for its answer to the call."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    answers = collections.Counter()
    for _ in range(count):
        sent = ssl.MemoryBIO()
        with pytest.raises(ssl.SSLWantReadError):
            context.wrap_bio(ssl.MemoryBIO(), sent).do_handshake()
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as stranger:
            call = stranger.recv(64)
            with contextlib.suppress(ConnectionError):
                stranger.sendall(spoil(call) + sent.read())
                answers[stranger.recv(1)] += 1
    return answers


def seconds_of(pid):
    """Time that a process has used."""
    with open(f"/proc/{pid}/stat") as file:
        user, system = file.read().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def test_strangers_have_no_handshakes_computed_and_cost_little_time_and_no_memory(far):
    port = far.port
    pid = far.record.pid

    def memory():
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()

    with far.client() as rc:
        assert rc[:].apply_sync(abs, -1) == [1]
        before = seconds_of(pid)
        for _ in range(20):
            with far.client() as other:
                assert other.ids == rc.ids
        session = (seconds_of(pid) - before) / 20
        held, before = memory(), seconds_of(pid)
        wrong = b"oarhere\n" + bytes(32)
        assert handshakes(port, 500, lambda call: wrong) == {b"\x15": 500}, "alerts, all of them"
        assert rc[:].apply_sync(abs, -2) == [2]
        # Those that do not even try say nothing that anybody would compute.
        assert not handshakes(port, 500, lambda call: os.urandom(40)).keys() - {b""}
        assert rc[:].apply_sync(abs, -3) == [3]
        stranger = (seconds_of(pid) - before) / 1000
        assert stranger < session / 3, f"{stranger * 1e6:.0f} of {session * 1e6:.0f} µs"
        assert memory() - held < 16 << 20
    with open(os.path.join(far.record.directory, "door.log")) as log:
        told = log.read()
    assert told.count("a peer at 127.0.0.1: it does not know the token of this cluster") == 1
    assert told.count("a peer at 127.0.0.1: it does not speak the protocol") == 1


def test_while_strangers_flood_tasks_come_and_go_and_peers_come_in(far):
    port, stop, came = far.port, threading.Event(), []

    def flood():
        while not stop.is_set():
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                came.append(1)

    with far.client() as rc:
        flooding = [threading.Thread(target=flood) for _ in range(2)]
        for thread in flooding:
            thread.start()
        try:
            wait_until(lambda: len(came) > 1000, "there is a flood")
            for item in range(200):
                assert rc[:].apply_sync(abs, -item) == [item]
            # More of them wait with the kernel than are heard at once, and everybody in turn.
            while True:
                with contextlib.suppress(OSError), far.client(timeout=PATIENCE) as other:
                    assert other.ids == rc.ids
                    break
        finally:
            stop.set()
            for thread in flooding:
                thread.join()
        assert rc[:].apply_sync(abs, -1) == [1]
    with open(os.path.join(far.record.directory, "door.log")) as log:
        assert log.read().count("more strangers connect than are heard at a time") == 1
