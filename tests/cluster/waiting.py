"""Waiting in tests for what another process does."""

import time

#: Seconds; longer than anything takes, and shorter than a test may take, which would end all tests.
PATIENCE = 45


def wait_until(what, reason):
    """Wait for something that another process does; there is no event to wait on."""
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline, reason
        time.sleep(0.005)
