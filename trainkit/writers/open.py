"""The writer most people want."""

import os
from pathlib import Path

from trainkit.writers.background import BackgroundWriter
from trainkit.writers.sinks.event_file import EventFileWriter
from trainkit.writers.tensorboard.records import event_files

__all__ = ["existing_runs", "open_writer"]


def open_writer(directory: str | os.PathLike[str]) -> BackgroundWriter:
    """A writer of TensorBoard event files that works in the background.

    Args:
        directory: Of the run; made if need be.

    Raises:
        OSError: The directory cannot be made or written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     writer = open_writer(directory)
        ...     writer.write_scalars(1, {"loss/total": 0.5})
        ...     writer.close()
    """
    return BackgroundWriter(EventFileWriter(directory))


def existing_runs(directory: str | os.PathLike[str]) -> list[Path]:
    """The folders that hold event files already: this one, and those directly in it.

    TensorBoard draws the files of one folder as one run: where another run wrote there before,
    the curves of both are joined by lines.

    Args:
        directory: Of a run that is about to begin; it need not exist.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     open_writer(directory).close()
        ...     existing_runs(directory) == [Path(directory)], existing_runs(f"{directory}/new")
        (True, [])
    """
    folder = Path(directory)
    try:
        inside = sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:
        return []
    return [path for path in (folder, *inside) if event_files(path)]
