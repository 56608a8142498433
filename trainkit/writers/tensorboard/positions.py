"""How far the event files of a folder reach, and cutting them back to there."""

import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["cut_back", "synced_positions"]


def synced_positions(folder: Path) -> dict[str, int]:
    """The length of every event file in a folder and below, on the disk when this returns.

    To be called when nothing is being written: see `BackgroundWriter.after_flush`.

    Args:
        folder: That may not exist.

    Returns:
        Path relative to the folder → bytes.

    Raises:
        OSError: A file cannot be read or synced.
    """
    found = {}
    for path in sorted(folder.rglob("*tfevents*")):
        try:
            number = os.open(path, os.O_RDONLY)
        except FileNotFoundError:  # it was replaced just now
            continue
        try:
            os.fsync(number)
            found[path.relative_to(folder).as_posix()] = os.fstat(number).st_size
        finally:
            os.close(number)
    return found


def cut_back(folder: Path, positions: Mapping[str, int]) -> int:
    """Take away what was written behind these positions: what a resumed training writes again.

    Longer files are truncated, which never leaves half a record; those that did not exist then
    stay as empty ones, so that the name of the next file still sorts behind theirs: a TensorBoard
    that is open never goes back. Doing it twice is harmless.

    Args:
        folder: As it was given to `synced_positions`.
        positions: What that has returned.

    Returns:
        Bytes that were taken away.

    Raises:
        OSError: A file cannot be cut.
    """
    cut = 0
    for path in sorted(folder.rglob("*tfevents*")):
        size = path.stat().st_size
        kept = positions.get(path.relative_to(folder).as_posix(), 0)
        if size <= kept:
            continue
        cut += size - kept
        with path.open("rb+") as file:
            file.truncate(kept)
            os.fsync(file.fileno())
    return cut
