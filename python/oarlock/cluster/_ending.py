"""The end of a cluster: close the controller, then remove the directory.

It refers to what it ends but not to the `Cluster`, so that it can run when the cluster is
collected or the interpreter exits. It does nothing in a forked child: the cluster is the parent's.
"""

import os
from collections.abc import Callable

from oarlock import _oarlock


class Ending:
    """What is to be undone when a cluster ends. Calling it again does nothing.

    Args:
        directory: Where the sockets are.
        cleanup: Removes what was made for this cluster; None when nothing was.
    """

    def __init__(self, directory: str, cleanup: Callable[[], object] | None) -> None:
        self.directory = directory
        self.core: _oarlock.Client | None = None
        self._cleanup = cleanup
        self._pid = os.getpid()

    def __call__(self) -> None:
        if os.getpid() != self._pid:
            return
        core, self.core = self.core, None
        cleanup, self._cleanup = self._cleanup, None
        try:
            if core is not None:
                core.close()
        finally:
            if cleanup is not None:
                cleanup()
