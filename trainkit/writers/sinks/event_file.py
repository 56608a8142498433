"""The event file: what TensorBoard reads."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from trainkit.writers.folder_names import folder_inside
from trainkit.writers.front import SinkWriter
from trainkit.writers.step.host_step import HostBlock, HostItem, Step, items_of
from trainkit.writers.tensorboard.blocks import block_records
from trainkit.writers.tensorboard.event_log import EventLog
from trainkit.writers.tensorboard.protobuf import event, message
from trainkit.writers.tensorboard.scalars import ScalarTemplates
from trainkit.writers.tensorboard.sessions import session_end
from trainkit.writers.tensorboard.summaries import described, readable_summary

__all__ = ["EventFileSink", "EventFileWriter"]

# Of event.proto: a message.
_SUMMARY = b"\x2a"


class EventFileSink:
    """Writes finished steps to a TensorBoard event file; never raises once it is open.

    Args:
        directory: Made if need be.
        describe: What a tag of a scalar means, in Markdown; empty: nothing. It is asked once for
            each tag. TensorBoard's page SCALARS shows it.
        session_start: The first step of this session of a training that can be resumed, 0 at
            first; None: it cannot. See `EventLog`.

    Raises:
        OSError: The directory cannot be made or written.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        describe: Callable[[str], str] | None = None,
        session_start: int | None = None,
    ) -> None:
        self.directory = Path(directory)
        self._describe = describe
        self._session_start = session_start
        self._log = EventLog(self.directory, session_start)
        self._templates = ScalarTemplates()
        self._lock = threading.Lock()
        self._has_session = False
        # Tags that stand in the file already: what describes a tag stands in its first value.
        self._described: set[str] = set()

    def __repr__(self) -> str:
        return f"EventFileSink({str(self.directory)!r})"

    @property
    def failing(self) -> BaseException | None:
        """What keeps it from writing now; None where all is well."""
        return self._log.outage.error

    def write(self, steps: Sequence[Step]) -> None:
        """Write all of them, an event for each."""
        with self._lock:
            # Steps with the same tags follow each other, and are serialized together.
            for tags, group in groupby(items_of(steps), key=_tags):
                some: Any = list(group)
                if tags is None:
                    for block in some:
                        self._write_block(block)
                else:
                    self._write_steps(some)

    def flush(self) -> None:
        """Hand everything to the operating system."""
        self._log.flush()

    def close(self) -> None:
        """Complete the file and close it; twice is harmless."""
        if self._log.closed:
            return
        if self._has_session:
            self._log.add(0, event(0, time.time(), message(_SUMMARY, _session_end())))
        self._log.close()

    def subrun(self, name: str) -> "EventFileSink":
        """An event file in the folder `<directory>/<name>`.

        Raises:
            TypeError, ValueError: The name would lead elsewhere, or is no name of a folder.
        """
        folder = folder_inside(self.directory, name)
        return EventFileSink(folder, self._describe, self._session_start)

    def _write_block(self, block: HostBlock) -> None:
        steps, times, values = block.steps, block.times, block.values
        if not self._described.issuperset(block.tags):
            found = self._descriptions(block.tags, block.description)
            content = message(_SUMMARY, described(block.tags, values[0], found))
            self._log.add(int(steps[0]), event(int(steps[0]), float(times[0]), content))
            steps, times, values = steps[1:], times[1:], values[1:]
        for some in block_records(block.tags, steps, times, values):
            self._log.add_records(*some)

    def _write_steps(self, steps: Sequence[Step]) -> None:
        if self._describe is not None and self._is_new(steps[0]):
            self._write_described(steps[0])
            steps = steps[1:]
            if not steps:
                return
        scalars = self._templates.serialize([step.chunks for step in steps])
        for step, numbers in zip(steps, scalars, strict=True):
            content = message(_SUMMARY, numbers + readable_summary(step))
            self._log.add(step.step, event(step.step, step.wall_time, content))
            self._has_session = self._has_session or bool(step.hparams)

    def _is_new(self, step: Step) -> bool:
        return not all(self._described.issuperset(chunk.tags) for chunk in step.chunks)

    def _write_described(self, step: Step) -> None:
        """Write a step with tags that are new in this file: their descriptions come with them."""
        tags = tuple(step.scalars)
        found = self._descriptions(tags)
        numbers = described(tags, list(step.scalars.values()), found)
        content = message(_SUMMARY, numbers + readable_summary(step))
        self._log.add(step.step, event(step.step, step.wall_time, content))
        self._has_session = self._has_session or bool(step.hparams)

    def _descriptions(self, tags: Sequence[str], more: str = "") -> dict[str, str]:
        """Of those tags that are new, which then are not any more."""
        new = [tag for tag in tags if tag not in self._described]
        self._described.update(new)
        own = {tag: self._describe(tag) if self._describe is not None else "" for tag in new}
        texts = {tag: " ".join(part for part in (text, more) if part) for tag, text in own.items()}
        return {tag: text for tag, text in texts.items() if text}


class EventFileWriter(SinkWriter):
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

    Everything happens in the calling thread; `open_writer` writes in the background.

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
        super().__init__(EventFileSink(self.directory))

    def __repr__(self) -> str:
        return f"EventFileWriter({str(self.directory)!r})"

    def _of_subrun(self, name: str) -> "EventFileWriter":
        return EventFileWriter(folder_inside(self.directory, name))


def _session_end() -> bytes:
    from tensorboard.compat.proto.summary_pb2 import Summary

    # A writer does not know whether the run ended well.
    return bytes(Summary(value=[session_end(time.time())]).SerializeToString())


def _tags(item: HostItem) -> tuple[tuple[str, ...], ...] | None:
    """What steps that are serialized together have in common; None for a block of a curve."""
    return None if isinstance(item, HostBlock) else tuple(chunk.tags for chunk in item.chunks)
