"""``python -m oarlock`` is the console script ``oarlock``."""

import sys

from oarlock.cli import main

if __name__ == "__main__":
    sys.exit(main())
