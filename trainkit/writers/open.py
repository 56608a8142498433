"""Opening writers: event files in the background, and a writer in front of any sink."""

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

# Writers in front of sinks that users gave, by the id of the sink. A writer keeps its sink alive,
# so that the id stays valid; an entry goes with its writer.
_shared: "WeakValueDictionary[int, BackgroundWriter]" = WeakValueDictionary()


def open_writer(
    directory: str | os.PathLike[str], *, sinks: Sequence[Sink | Writer] = ()
) -> BackgroundWriter:
    """A writer of TensorBoard event files that works in the background.

    Args:
        directory: The run's folder; created if needed.
        sinks: Sinks of your own, or other writers, that get the same steps. They are closed with
            the writer.

    Raises:
        OSError: The directory cannot be made or written.
        TypeError: One of the sinks is neither a sink nor a writer.

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
    """Return a writer as it is; for a sink, return a background writer in front of it.

    All calls with the same sink share one writer. It is written out and closed, with the sink,
    when it is no longer referenced.

    Raises:
        TypeError: It is neither.
    """
    if not is_sink(target):
        if not callable(getattr(target, "write_scalars", None)):
            as_sink(target)  # raises the error that says what is expected
        return target  # type: ignore[return-value]
    found = _shared.get(id(target))
    if found is None or found.closed:
        found = _shared[id(target)] = BackgroundWriter(target)
    return found


def existing_runs(directory: str | os.PathLike[str]) -> list[Path]:
    """Return the folders that hold event files already: this one, and those directly in it.

    TensorBoard draws all files of one folder as one run: if another run wrote there before, the
    curves of both are joined by lines.

    Args:
        directory: The folder of a run that is about to begin; it need not exist.

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
