"""The event-file writer: what TensorBoard reads."""

import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

from trainkit.writers.folder_names import folder_inside
from trainkit.writers.front import Gatherer
from trainkit.writers.gathering_writer import GatheringWriter
from trainkit.writers.step.host_step import HostBlock, HostStep
from trainkit.writers.step.pending import Gathering
from trainkit.writers.step.to_host import read_items
from trainkit.writers.step.tracks import Block
from trainkit.writers.tensorboard.blocks import block_records
from trainkit.writers.tensorboard.event_log import EventLog
from trainkit.writers.tensorboard.protobuf import event, message
from trainkit.writers.tensorboard.scalars import ScalarTemplates
from trainkit.writers.tensorboard.summaries import described, readable_summary, session_end

__all__ = ["EventFileWriter"]

# Of event.proto: a message.
_SUMMARY = b"\x2a"


class EventFileWriter(GatheringWriter):
    """Writes a TensorBoard event file; everything of one step becomes one event.

    A step is written when another step comes, or at `flush` and `close`. Of a tag written twice
    at one step, the last value is kept (those written before a `flush` stay as well). Numbers
    are kept in float32, the format's precision: NaN, infinity and every float32, bf16 and fp16
    arrive unchanged, a float64 or an integer is rounded to the nearest float32. Where the data of
    a histogram held NaN or infinity, their number is written as scalar `<tag>/non_finite`. The
    time of an event is that of the step's first write. Several images under one tag become one.

    A disk that is full, or fails otherwise, raises nothing: one line in the log says so, and one
    when writing works again, with what was lost. Up to 16 MiB are kept until then. What was
    written before, and comes afterwards, stays readable.

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

    @property
    def failing(self) -> BaseException | None:
        """What keeps it from writing now; None where all is well."""
        return self._file.log.outage.error

    def write_steps(self, host_steps: Sequence[HostStep]) -> None:
        """Write everything of some steps that is on the host already."""
        self._file.check()
        self._gatherer.seal()
        self._file.write(host_steps)

    def write_block(self, block: HostBlock) -> None:
        """Write all points of a block that is on the host already."""
        self._file.check()
        self._gatherer.seal()
        self._file.write_block(block)

    def subrun(self, name: str) -> "EventFileWriter":
        """The writer of `<directory>/<name>`; the same one each time, closed with this one.

        Raises:
            TypeError, ValueError: The name would lead elsewhere, or is no name of a folder.
        """
        self._file.check()
        if name not in self._subruns:
            self._subruns[name] = writer = EventFileWriter(folder_inside(self.directory, name))
            # At the end of the interpreter it goes with its parent: who still has something to
            # write to it (a background writer) was made before it, and ends after it.
            writer._finish.atexit = False
            self._finish_subruns.append(writer._finish)
        return self._subruns[name]

    def flush(self) -> None:
        """Return when everything written so far, in sub-runs too, can be read by others."""
        self._file.check()
        self._gatherer.seal()
        self._file.log.flush()
        for writer in list(self._subruns.values()):
            writer.flush()

    def close(self) -> None:
        """Write everything and close the file, and those of the sub-runs; twice is harmless."""
        self._finish()


class _EventFile:
    """What stands between steps on the host and the log of events: their bytes."""

    def __init__(self, directory: Path) -> None:
        self.log = EventLog(directory)
        self._templates = ScalarTemplates()
        self._lock = threading.Lock()
        self._has_session = False
        self._described: set[tuple[str, ...]] = set()

    def check(self) -> None:
        log = self.log
        if log.closed:
            raise RuntimeError(f"the writer of {log.path} is closed; open a new one")
        if not log.is_ours():
            raise RuntimeError(
                f"the writer of {log.path} belongs to process {log.pid}, this is {os.getpid()}; "
                "open one writer per process, each in its own directory"
            )

    def write_gathering(self, gathering: Gathering | Block) -> None:
        for item in read_items([gathering]):
            if isinstance(item, HostBlock):
                self.write_block(item)
            else:
                self.write([item])

    def write_block(self, block: HostBlock) -> None:
        with self._lock:
            steps, times, values = block.steps, block.times, block.values
            if len(steps) and block.tags not in self._described:
                # What describes a tag stands in its first value.
                self._described.add(block.tags)
                content = message(_SUMMARY, described(block.tags, values[0], block.description))
                self.log.add(int(steps[0]), event(int(steps[0]), float(times[0]), content))
                steps, times, values = steps[1:], times[1:], values[1:]
            for some in block_records(block.tags, steps, times, values):
                self.log.add_records(*some)

    def write(self, host_steps: Sequence[HostStep]) -> None:
        with self._lock:
            # Those with the same tags follow each other, and are serialized together.
            for _, group in groupby(host_steps, key=_tags):
                some = list(group)
                scalars = self._templates.serialize([host_step.scalars for host_step in some])
                for host_step, numbers in zip(some, scalars, strict=True):
                    content = message(_SUMMARY, numbers + readable_summary(host_step))
                    self.log.add(
                        host_step.step, event(host_step.step, host_step.wall_time, content)
                    )
            if any(host_step.hparams for host_step in host_steps):
                self._has_session = True

    def close(self) -> None:
        if self.log.closed:
            return
        if self._has_session:
            end = message(_SUMMARY, session_end())
            self.log.add(0, event(0, time.time(), end))
        self.log.close()


def _tags(host_step: HostStep) -> tuple[tuple[str, ...], ...]:
    return tuple(chunk.tags for chunk in host_step.scalars)


def _finish(gatherer: Gatherer, file: _EventFile, others: list[Callable[[], object]]) -> None:
    if not file.log.is_ours():  # a forked child must leave alone what its parent will write
        return
    try:
        gatherer.seal(ended=True)
    finally:
        file.close()
        for finish in others:
            finish()
