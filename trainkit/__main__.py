"""`python -m trainkit` is `trainkit`."""

import os
import sys

__all__: list[str] = []

# `-m` puts the working folder in front, where a file `random.py` would take the place of Python's.
if sys.path and sys.path[0] in ("", os.getcwd()):
    sys.path.append(sys.path.pop(0) or os.getcwd())

from trainkit.cli.main import main

# Processes that trainkit.processes starts import this file under another name.
if __name__ == "__main__":
    sys.exit(main())
