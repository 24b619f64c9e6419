"""``python -m oarlock.engine DIRECTORY``: an engine of the controller in that directory."""

import sys

from oarlock.engine.loop import main

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m oarlock.engine DIRECTORY")
    sys.exit(main(sys.argv[1]))
