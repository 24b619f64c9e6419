"""``python -m oarlock.engine DIRECTORY``: an engine of the controller in that directory.

Instead of the directory it takes a connection file of a cluster on another host.
"""

import sys

from oarlock.engine.loop import main

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m oarlock.engine DIRECTORY-OR-CONNECTION-FILE")
    sys.exit(main(sys.argv[1]))
