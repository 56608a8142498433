"""Writing in the background: training goes on while the disk is busy."""

import os
import threading
import weakref
from collections.abc import Callable
from functools import partial

from trainkit.writers.as_sink import as_sink
from trainkit.writers.delivery import Deliveries
from trainkit.writers.front import Front
from trainkit.writers.gatherer import Gatherer
from trainkit.writers.protocol import Sink, Writer
from trainkit.writers.step.pending import Gathering
from trainkit.writers.step.tracks import Block
from trainkit.writers.step_queue import StepQueue
from trainkit.writers.thread import WriterThread

__all__ = ["BackgroundWriter"]

# Seconds to wait for the thread when the garbage collector closes the writer.
_PATIENCE_SECONDS = 2.0


class BackgroundWriter(Front):
    """Gathers each step on its devices; a thread reads it in one copy and writes it.

    A call returns as soon as its values are kept. It waits only while `queue_size` steps wait to
    be written, so a slow disk slows training down but never eats its memory. A step is complete
    when another one comes, at `flush` and `close`, or when nothing was added for half a second.

    If writing fails, nothing is raised: one line in the log says so, and one when it works again,
    with what was lost. Up to 16 MiB are kept until then; training waits for none of them.
    `failing` is what is wrong now. A writer that is no longer referenced is written out and closed
    when Python collects it, or ends.

    Args:
        writer: A `Sink`, or any writer: it gets numbers on the host. From now on only this one may
            use it, and closes it.
        others: More of them, which get the same; one that fails costs only itself.
        queue_size: Steps that may wait. One of more than 16,384 numbers (histograms of a large
            network, pictures) counts for 32.
        flush_seconds: How long it may take until a step can be read by others.

    Raises:
        TypeError: It is neither a sink nor a writer.
        ValueError: A queue size or a time that is not positive.

    Example:
        >>> from trainkit.writers import MemoryWriter
        >>> memory = MemoryWriter()
        >>> writer = BackgroundWriter(memory)
        >>> writer.write_scalars(1, {"loss/total": 2.0})
        >>> writer.flush()
        >>> memory.scalars["loss/total"]
        [(1, 2.0)]
        >>> writer.close()

    Cost: in the calling thread three microseconds per call, and one per tensor of
    a plain mapping (`Scalars` and `Histograms` cost nothing more).
    """

    def __init__(
        self,
        writer: Sink | Writer,
        *others: Sink | Writer,
        queue_size: int = 256,
        flush_seconds: float = 2.0,
    ) -> None:
        if queue_size < 1:
            raise ValueError(f"queue_size must be 1 step or more, got {queue_size}")
        if not flush_seconds > 0:
            raise ValueError(f"flush_seconds must be greater than 0, got {flush_seconds}")
        self._background = _Background(
            [as_sink(each) for each in (writer, *others)], queue_size, flush_seconds
        )
        lane = self._background.lane(self._background.deliveries)
        super().__init__(lane.gatherer)
        self._subruns: dict[str, _BackgroundSubrun] = {}
        # Called too when the writer is no longer referenced, or the interpreter ends.
        self._finish = weakref.finalize(self, self._background.forget)

    def __repr__(self) -> str:
        return f"BackgroundWriter({self._background.deliveries!r})"

    @property
    def closed(self) -> bool:
        """Whether nothing can be written any more."""
        return self._background.closed

    @property
    def failing(self) -> BaseException | None:
        """What keeps it from writing now; None where all is well."""
        return self._background.thread.failing

    @property
    def failures(self) -> dict[str, BaseException]:
        """What keeps each of the sinks that fail from writing now, by the sink's name."""
        return self._background.deliveries.failures

    @property
    def thread_seconds(self) -> float:
        """Processor time of the thread so far: for numbers, and none of a sub-run's."""
        return self._background.thread.seconds

    def add_sink(self, sink: Sink) -> None:
        """Hand everything but sub-runs to one more sink from now on; it is closed with the rest."""
        self._background.deliveries.add(sink)

    def remove_sink(self, sink: Sink) -> None:
        """Hand nothing more to a sink that was added; it is not closed."""
        self._background.deliveries.remove(sink)

    def subrun(self, name: str) -> Writer:
        """The writer of the sub-run, in the same thread; the same one each time."""
        return self._open_subrun(self._background.deliveries, name, name)

    def flush(self) -> None:
        """Return when everything written so far can be read by others.

        Where writing fails, what could not be written is tried again later.

        Raises:
            RuntimeError: The writer is closed, or belongs to another process.
        """
        self._background.check()
        self._background.flush()

    def after_flush(self, then: Callable[[], object]) -> Callable[[], None]:
        """Have a function called when everything written so far can be read by others.

        The call returns at once. What is written later waits until the function has returned, so
        that it finds the files as they are at this moment of the training.

        Args:
            then: Called in the writer's thread; what it raises is logged.

        Returns:
            Waits until it has returned, or the thread has ended.

        Raises:
            RuntimeError: The writer is closed, or belongs to another process.
        """
        self._background.check()
        return self._background.after_flush(then)

    def close(self) -> None:
        """Write everything, close the sink and end the thread; twice is harmless.

        What cannot be written even now is lost, and the log says how much that is.
        """
        if self._finish.detach() is not None:
            self._background.stop()

    def _open_subrun(self, deliveries: Deliveries, name: str, path: str) -> Writer:
        self._background.check()
        if path not in self._subruns:
            lane = self._background.lane(self._background.of(deliveries.sub_sinks(name)))
            self._subruns[path] = _BackgroundSubrun(self, lane, path)
        return self._subruns[path]


class _Lane:
    """The way into the queue for the steps of the run, or of one sub-run."""

    def __init__(self, background: "_Background", deliveries: Deliveries) -> None:
        self._background = background
        self.deliveries = deliveries
        self.gatherer = Gatherer(self)

    def check(self) -> None:
        self._background.check()

    def deliver(self, gathered: Gathering | Block) -> None:
        self._background.queue.put(self.deliveries, gathered)


class _Background:
    """The queue and the thread of one background writer, which it outlives for a moment."""

    def __init__(self, sinks: list[Sink], queue_size: int, flush_seconds: float) -> None:
        self.deliveries = self.of(sinks)
        self.queue = StepQueue(queue_size)
        self.thread = WriterThread(repr(self.deliveries), self.queue, flush_seconds)
        self.closed = False
        self._pid = os.getpid()

    def of(self, sinks: list[Sink]) -> Deliveries:
        """Deliveries to these sinks; those of sub-runs fail when the run's do."""
        return Deliveries(sinks, beside=id(self))

    def lane(self, deliveries: Deliveries) -> _Lane:
        """A new way in, for these sinks."""
        lane = _Lane(self, deliveries)
        self.thread.serve(lane.gatherer, deliveries)
        if deliveries is self.deliveries:
            self.thread.start()
        return lane

    def check(self) -> None:
        """Raise where nothing more can be written, and say why."""
        if os.getpid() != self._pid:
            raise RuntimeError(
                f"this background writer belongs to process {self._pid}, this is {os.getpid()}, "
                "a fork without its thread; open one writer per process, each in its own directory"
            )
        if self.closed:
            raise RuntimeError(
                f"the background writer of {self.deliveries!r} is closed; open a new one"
            )

    def flush(self) -> None:
        """Return when all that was written so far was written out, or failed."""
        self.thread.seal()
        self._wait_for(self.queue.put_flush())

    def _wait_for(self, done: threading.Event) -> None:
        while not done.wait(1.0) and self.thread.alive:
            pass

    def after_flush(self, then: Callable[[], object]) -> Callable[[], None]:
        """Have a function called in the thread when all that was written so far is flushed."""
        self.thread.seal()
        return partial(self._wait_for, self.queue.put_flush(then))

    def forget(self) -> None:
        """Stop, for a writer that is no longer referenced."""
        # The garbage collector comes at any moment, also while this thread holds a lock (of the
        # log, say) that the other one needs to come to its end.
        self.stop(None if _is_ending() else _PATIENCE_SECONDS)

    def stop(self, patience: float | None = None) -> None:
        """Write everything, close the sinks and end the thread; harmless in a forked child.

        Args:
            patience: How long the end of the thread is awaited, in seconds; None: for ever.
        """
        if self.closed or os.getpid() != self._pid:
            return
        self.thread.seal(ended=True)
        self.closed = True
        self.queue.put_stop()
        self.thread.join(patience)


class _BackgroundSubrun(Front):
    """A sub-run: another way into the same queue. It ends with its parent."""

    def __init__(self, parent: BackgroundWriter, lane: _Lane, path: str) -> None:
        super().__init__(lane.gatherer)
        self._parent = parent  # keeps the thread alive
        self._lane = lane
        self._path = path

    def __repr__(self) -> str:
        return f"sub-run {self._lane.deliveries!r} of {self._parent!r}"

    def subrun(self, name: str) -> Writer:
        """The writer of a sub-run of this one."""
        return self._parent._open_subrun(self._lane.deliveries, name, f"{self._path}/{name}")

    def flush(self) -> None:
        """Return when everything written so far can be read by others."""
        self._parent.flush()

    def close(self) -> None:
        """Flush; the sub-run is closed with its parent."""
        self._parent.flush()


def _is_ending() -> bool:
    """Whether the interpreter ends: what is not written now never will be."""
    return not threading.main_thread().is_alive()
