"""Writing a file so that a reader, or a crash, never sees half of it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

__all__ = ["replace_atomically"]


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
    if os.name == "posix":  # the new name must survive a power failure too
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
