"""``python -m oarlock.engine DIRECTORY``: an engine of the controller in that directory.

Instead of the directory it takes a connection file of a cluster on another host, and after it for
how many seconds the controller is looked for when the network does not lead to it.
"""

import sys

from oarlock.engine.loop import main

if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python -m oarlock.engine DIRECTORY-OR-CONNECTION-FILE [PATIENCE]")
    sys.exit(main(sys.argv[1], *map(float, sys.argv[2:])))
