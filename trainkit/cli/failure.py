"""How a failure is told: one line for what the user can mend, a traceback for what broke."""

import sys
import traceback

__all__ = ["UsageError", "status_of"]


class UsageError(Exception):
    """The command cannot be carried out as it was given; its text is one line."""


def status_of(error: Exception) -> int:
    """Print what happened on standard error and return the exit status."""
    if isinstance(error, UsageError) or type(error).__name__ == "ConfigError":
        print(f"trainkit: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    traceback.print_exception(error)
    print(f"trainkit: {type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)
    return 1
