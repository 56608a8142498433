"""Make the folder of a run; two runs of one experiment may start in the same second."""

import os
from pathlib import Path

__all__ = ["give_back", "reserve"]


def reserve(directory: Path) -> Path:
    """Make the folder and return it; add a number to its name if another run has it."""
    candidate, number = directory, 1
    while True:
        candidate.mkdir(parents=True, exist_ok=True)
        try:
            os.close(os.open(candidate / "run.log", os.O_CREAT | os.O_EXCL, 0o666))
        except FileExistsError:
            number += 1
            candidate = directory.with_name(f"{directory.name}_{number}")
        else:
            return candidate


def give_back(directory: Path, *, reserved: bool) -> None:
    """Remove the folder of a run that never began, and those above it that are empty.

    Nothing that holds a file is removed, nor the working folder or anything outside of it.

    Args:
        directory: To be removed.
        reserved: Whether `reserve` made it.
    """
    if reserved:
        (directory / "run.log").unlink(missing_ok=True)
    here = Path.cwd()
    for folder in (directory, *directory.parents):
        if here not in folder.parents:
            return
        try:
            folder.rmdir()
        except OSError:
            return
