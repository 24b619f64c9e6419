"""Waiting in tests for what another process does."""

import time

#: Seconds; longer than anything takes, whatever the machine does.
PATIENCE = 60


def wait_until(what, reason):
    """Wait for something that another process does; there is no event to wait on."""
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline, reason
        time.sleep(0.005)
