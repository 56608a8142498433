"""The writer most people want."""

import os

from trainkit.writers.background import BackgroundWriter
from trainkit.writers.event_file import EventFileWriter

__all__ = ["open_writer"]


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
