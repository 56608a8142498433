"""`trainkit resume`: go on with an interrupted run."""

from collections.abc import Sequence

from trainkit.cli.failure import UsageError

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Say that it cannot be done yet.

    Raises:
        UsageError: Always: checkpoints hold what it needs, but nothing reads it back yet.
    """
    if arguments and arguments[0] in ("-h", "--help"):
        print("usage: trainkit resume RUN_DIR\n\nNot in this version: start a new run instead.")
        return 0
    raise UsageError(
        "resume is not in this version; start a new run (the state is kept in "
        "RUN_DIR/checkpoints/last.pt)"
    )
