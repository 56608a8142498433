"""Writing a file so that a reader, or a crash, never sees half of it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

__all__ = ["replace_atomically", "sync_folder"]


def replace_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Put a complete new file in the place of `path`, or leave the old one as it is.

    Args:
        path: To be replaced, or made.
        write: Writes the content into the file that it is given.
    """
    # The process id keeps two writers apart; the same folder keeps the rename on one disk.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder survive a power failure."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
