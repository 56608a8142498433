"""`python -m trainkit` is `trainkit`."""

import sys

from trainkit.cli.main import main

__all__: list[str] = []

sys.exit(main())
