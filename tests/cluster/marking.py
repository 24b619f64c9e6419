"""Tasks that write down each of their executions."""

import collections
import contextlib


def executions_at(path):
    """How often each item was begun, as it is written there."""
    with contextlib.suppress(FileNotFoundError), open(path) as lines:
        return collections.Counter(map(int, lines))
    return collections.Counter()


def marking(directory, pause=0):
    """A function that writes down each of its executions and takes `pause` seconds, and one that
    gives how often each item was begun."""
    path = str(directory / "executions")

    def mark(item):
        import os
        import time

        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(file, f"{item}\n".encode())
        os.close(file)
        if pause:
            time.sleep(pause)
        return -item

    return mark, lambda: executions_at(path)
