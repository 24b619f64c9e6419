"""A line between hosts that is slow, thin and breaks: a TCP proxy on loopback, real sockets on both
sides of it.

Kernels that could do the same to a network (`netem`) are rare. What goes through arrives late, in
order, at the rate of the line, which all of its connections share; and any of them can be torn.
"""

import asyncio
import contextlib
import json
import os
import random
import socket
import struct
import threading

#: Bytes that are carried at a time, and those that one connection may have on its way.
PIECE = 4096
ROOM = 256 * 1024


class Line:
    """A way to the cluster of a connection file, from now until `close`.

    Args:
        file: The connection file.
        delay: Seconds that everything takes in each direction.
        jitter: At most so many seconds more.
        rate: Bytes a second in each direction; None for as many as there are.
    """

    def __init__(self, file, *, delay=0.0, jitter=0.0, rate=None):
        with open(file) as text:
            self._said = json.load(text)
        host, port = self._said["endpoints"][0].rsplit(":", 1)
        self._to = (host, int(port))
        self.delay, self.jitter, self.rate = delay, jitter, rate
        #: How many connections came.
        self.came = 0
        self._chance = random.Random(1)
        self._open = []
        self._loop = asyncio.new_event_loop()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, name="line")
        self._thread.start()

    def card(self, path):
        """Write the connection file of who takes this line; gives its path."""
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump({**self._said, "endpoints": [f"127.0.0.1:{self.port}"]}, file)
        return str(path)

    def tear(self, *which):
        """Reset open connections: those of these numbers, in the order they came, or all."""
        done = asyncio.run_coroutine_threadsafe(self._tear(which), self._loop)
        return done.result(20)

    def close(self):
        """Tear everything and listen no more."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        assert not self._thread.is_alive()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _run(self):
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self):
        self._stop = asyncio.Event()
        self._queues = {"out": Queue(self), "back": Queue(self)}
        self._listener.setblocking(False)
        server = await asyncio.start_server(self._carry, sock=self._listener)
        await self._stop.wait()
        server.close()
        await self._tear(())
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _tear(self, which):
        torn = [self._open[number] for number in which] if which else list(self._open)
        for pair in torn:
            for writer in pair:
                with contextlib.suppress(OSError):
                    linger = struct.pack("ii", 1, 0)
                    writer.get_extra_info("socket").setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, linger
                    )
                writer.transport.abort()
        return len(torn)

    async def _carry(self, reader, writer):
        self.came += 1
        try:
            far, further = await asyncio.open_connection(*self._to)
        except OSError:
            writer.transport.abort()
            return
        pair = (writer, further)
        self._open.append(pair)
        out = self._way(reader, further, self._queues["out"])
        back = self._way(far, writer, self._queues["back"])
        try:
            # Cancelled when the line is closed.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(out, back)
        finally:
            self._open.remove(pair)
            for end in pair:
                end.transport.abort()

    async def _way(self, reader, writer, queue):
        """One direction of a connection, with its end."""
        loop, late = asyncio.get_running_loop(), asyncio.Queue(ROOM // PIECE)

        async def arrive():
            due = 0.0
            with contextlib.suppress(OSError):
                while piece := await reader.read(PIECE):
                    wait = self.delay + self.jitter * self._chance.random()
                    due = max(due, loop.time() + wait)
                    await late.put((due, piece))
            await late.put((due, b""))

        arriving = asyncio.ensure_future(arrive())
        try:
            while True:
                due, piece = await late.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                if not piece:
                    writer.write_eof()
                    return
                await queue.pass_through(len(piece))
                writer.write(piece)
                await writer.drain()
        except OSError:
            return
        finally:
            arriving.cancel()


class Queue:
    """One direction of a line: who has a piece waits for those of others before it."""

    def __init__(self, line):
        self._line, self._free_at = line, 0.0

    async def pass_through(self, count):
        rate = self._line.rate
        if rate is None:
            return
        now = asyncio.get_running_loop().time()
        self._free_at = max(now, self._free_at) + count / rate
        await asyncio.sleep(self._free_at - now)
