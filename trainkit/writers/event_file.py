"""The event-file writer: what TensorBoard reads."""

import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

from trainkit.writers.gatherer import Gatherer
from trainkit.writers.gathering import Gathering
from trainkit.writers.gathering_writer import GatheringWriter
from trainkit.writers.host_step import HostStep
from trainkit.writers.reading import read_step
from trainkit.writers.records import new_event_file
from trainkit.writers.scalar_bytes import ScalarTemplates
from trainkit.writers.serialized import event, message
from trainkit.writers.summaries import session_end, summary

__all__ = ["EventFileWriter"]

# Field numbers and wire types of event.proto: a string, and a message.
_FILE_VERSION, _SUMMARY = b"\x1a", b"\x2a"


class EventFileWriter(GatheringWriter):
    """Writes a TensorBoard event file; everything of one step becomes one event.

    A step is written when another step comes, or at `flush` and `close`. Of a tag written twice
    at one step, the last value is kept (those written before a `flush` stay as well). Numbers
    are kept in float32, the format's precision: NaN, infinity and every float32, bf16 and fp16
    arrive unchanged, a float64 or an integer is rounded to the nearest float32. Where the data of
    a histogram held NaN or infinity, their number is written as scalar `<tag>/non_finite`. The
    time of an event is that of the step's first write. Several images under one tag become one.

    Everything happens in the calling thread; `open_writer` puts it into the background.

    Args:
        directory: Made if need be. A new file is started in it, never one continued. TensorBoard
            reads one file of a directory at a time: use one writer per directory, or `subrun`.

    Raises:
        OSError: The directory cannot be made or written.

    Example:
        >>> import tempfile
        >>> from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     writer = EventFileWriter(directory)
        ...     writer.write_scalars(3, {"loss/total": 0.5})
        ...     writer.close()
        ...     events = EventAccumulator(directory).Reload().Scalars("loss/total")
        ...     [(event.step, event.value) for event in events]
        [(3, 0.5)]

    Source: the record format of TensorFlow's `record_writer.cc`, the messages of `event.proto`.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory)
        file = _EventFile(self.directory)
        gatherer = Gatherer(file.write_gathering, file.check)
        super().__init__(gatherer)
        self._file = file
        self._subruns: dict[str, EventFileWriter] = {}
        self._finish_subruns: list[Callable[[], object]] = []
        # Called too when the writer is forgotten, or the interpreter ends.
        self._finish = weakref.finalize(self, _finish, gatherer, file, self._finish_subruns)

    def __repr__(self) -> str:
        return f"EventFileWriter({str(self.directory)!r})"

    def write_steps(self, host_steps: Sequence[HostStep]) -> None:
        """Write everything of some steps that is on the host already."""
        self._file.check()
        self._gatherer.seal()
        self._file.write(host_steps)

    def subrun(self, name: str) -> "EventFileWriter":
        """The writer of `<directory>/<name>`; the same one each time, closed with this one."""
        self._file.check()
        if name not in self._subruns:
            self._subruns[name] = writer = EventFileWriter(self.directory / name)
            # At the end of the interpreter it goes with its parent: who still has something to
            # write to it (a background writer) was made before it, and ends after it.
            writer._finish.atexit = False
            self._finish_subruns.append(writer._finish)
        return self._subruns[name]

    def flush(self) -> None:
        """Return when everything written so far, in sub-runs too, can be read by others."""
        self._file.check()
        self._gatherer.seal()
        self._file.flush()
        for writer in list(self._subruns.values()):
            writer.flush()

    def close(self) -> None:
        """Write everything and close the file, and those of the sub-runs; twice is harmless."""
        self._finish()


class _EventFile:
    """The open file: one step on the host becomes one event."""

    def __init__(self, directory: Path) -> None:
        self._records = new_event_file(directory)
        self._templates = ScalarTemplates()
        self._lock = threading.Lock()
        self._has_session = False
        self._closed = False
        self._pid = os.getpid()
        version = message(_FILE_VERSION, b"brain.Event:2")
        self._records.write(event(0, time.time(), version))
        self._records.flush()

    def check(self) -> None:
        if self._closed:
            raise RuntimeError(f"the writer of {self._records.path} is closed; open a new one")
        if not self.is_ours():
            raise RuntimeError(
                f"the writer of {self._records.path} belongs to process {self._pid}, this is "
                f"{os.getpid()}; open one writer per process, each in its own directory"
            )

    def is_ours(self) -> bool:
        return os.getpid() == self._pid

    def write_gathering(self, gathering: Gathering) -> None:
        self.write([read_step(gathering)])

    def write(self, host_steps: Sequence[HostStep]) -> None:
        with self._lock:
            # Those with the same tags follow each other, and are serialized together.
            for _, group in groupby(host_steps, key=_tags):
                some = list(group)
                scalars = self._templates.serialize([host_step.scalars for host_step in some])
                self._records.write(*map(_event, some, scalars))
            if any(host_step.hparams for host_step in host_steps):
                self._has_session = True

    def flush(self) -> None:
        self._records.flush()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            if self._has_session:
                end = message(_SUMMARY, session_end())
                self._records.write(event(0, time.time(), end))
        finally:
            self._records.close()


def _tags(host_step: HostStep) -> tuple[tuple[str, ...], ...]:
    return tuple(chunk.tags for chunk in host_step.scalars)


def _event(host_step: HostStep, scalars: bytes) -> bytes:
    content = message(_SUMMARY, scalars + summary(host_step))
    return event(host_step.step, host_step.wall_time, content)


def _finish(gatherer: Gatherer, file: _EventFile, others: list[Callable[[], object]]) -> None:
    if not file.is_ours():  # a forked child must leave alone what its parent will write
        return
    try:
        gatherer.seal()
    finally:
        file.close()
        for finish in others:
            finish()
