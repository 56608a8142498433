"""The writer most people want."""

import os
from collections.abc import Sequence
from pathlib import Path
from weakref import WeakValueDictionary

from trainkit.writers.as_sink import as_sink, is_sink
from trainkit.writers.background import BackgroundWriter
from trainkit.writers.protocol import Sink, Writer
from trainkit.writers.sinks.event_file import EventFileSink
from trainkit.writers.tensorboard.records import event_files

__all__ = ["as_writer", "existing_runs", "open_writer"]

# By the id of a sink, which its writer keeps alive, so that no id is reused.
_shared: "WeakValueDictionary[int, BackgroundWriter]" = WeakValueDictionary()


def open_writer(
    directory: str | os.PathLike[str], *, sinks: Sequence[Sink | Writer] = ()
) -> BackgroundWriter:
    """A writer of TensorBoard event files that works in the background.

    Args:
        directory: Of the run; made if need be.
        sinks: Get the same: sinks of your own, or other writers. They are closed with the writer.

    Raises:
        OSError: The directory cannot be made or written.
        TypeError: One of the sinks is none.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     writer = open_writer(directory)
        ...     writer.write_scalars(1, {"loss/total": 0.5})
        ...     writer.close()
    """
    others = [as_sink(sink) for sink in sinks]
    event_file = EventFileSink(directory)
    return BackgroundWriter(event_file, *others)


def as_writer(target: Writer | Sink) -> Writer:
    """A writer itself; of a sink, the background writer that all who give this sink share.

    That writer is written out and closed, and the sink with it, when nobody uses it any more.

    Raises:
        TypeError: It is neither.
    """
    if not is_sink(target):
        if not callable(getattr(target, "write_scalars", None)):
            as_sink(target)  # says what it should be
        return target  # type: ignore[return-value]
    found = _shared.get(id(target))
    if found is None or found.closed:
        found = _shared[id(target)] = BackgroundWriter(target)
    return found


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
