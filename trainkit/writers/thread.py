"""The thread behind a background writer: reads what was gathered, and writes it to the sinks."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from itertools import groupby

from trainkit.writers.delivery import Deliveries
from trainkit.writers.gatherer import Gatherer
from trainkit.writers.outage import Outage
from trainkit.writers.step.host_step import HostItem, Steps
from trainkit.writers.step.make_deferred import note_writing
from trainkit.writers.step.pending import Gathering
from trainkit.writers.step.to_host import read_items
from trainkit.writers.step.tracks import Block
from trainkit.writers.step_queue import Flush, StepQueue, Stop, Work

__all__ = ["WriterThread"]

_log = logging.getLogger("trainkit")

# A step to which nothing was added for so long is taken to be complete.
_QUIET_SECONDS = 0.5
# The thread looks for work so often, or when half of the queue is full. Several steps in a row
# cost much less than as many awakenings, each of which takes Python's lock from the training.
_NAP_SECONDS = 0.1


class WriterThread:
    """One daemon thread that writes, in order, what waits in a queue.

    Args:
        what: Whose thread it is, for the log.
        queue: Where the steps come from.
        flush_seconds: At the latest so long after it was written a step can be read by others.
    """

    def __init__(self, what: str, queue: StepQueue, flush_seconds: float) -> None:
        # Processor time of the thread: for numbers of the first deliveries, and for all else.
        self.seconds = self._other_seconds = 0.0
        self._queue = queue
        self._flush_seconds = flush_seconds
        # What is served, the run first, then its sub-runs: flushed, retried and closed here.
        self._served: list[tuple[Gatherer, Deliveries]] = []
        self._reading = Outage(f"what is read for {what}")
        self._flushed = time.monotonic()
        self._unflushed = False
        self._thread = threading.Thread(target=self._run, name="trainkit-writer", daemon=True)

    def serve(self, gatherer: Gatherer, deliveries: Deliveries) -> None:
        """Hand on the gatherer's steps when it is quiet, and flush and close these deliveries."""
        self._served.append((gatherer, deliveries))

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._thread.is_alive()

    def join(self, patience: float | None) -> None:
        """Wait for its end, at most so many seconds; not at all in the thread itself."""
        # The garbage collector may find a forgotten writer while this thread is at work.
        if threading.current_thread() is not self._thread:
            self._thread.join(patience)

    def seal(self, ended: bool = False) -> None:
        """Have everything that was gathered so far put into the queue."""
        for gatherer, _ in list(self._served):
            gatherer.seal(ended)

    @property
    def failing(self) -> BaseException | None:
        """What keeps a sink from being written now."""
        found = (deliveries.failing for _, deliveries in list(self._served))
        return next((error for error in found if error is not None), None)

    def _run(self) -> None:
        self._queue.reader = threading.get_ident()
        while self._work_off():
            self._queue.wait(_NAP_SECONDS)

    def _work_off(self) -> bool:
        """Write what waits; whether there may be more to come."""
        while not self._queue.empty:
            works, order = self._queue.take()
            if works:
                self._write(works)
            # Keeping the references would keep their memory until the next step.
            works.clear()
            if isinstance(order, Stop):
                self._close()
                return False
            if isinstance(order, Flush):
                self._flush()
                if order.then is not None:
                    self._call(order.then)
                order.done.set()
        self.seconds = time.thread_time() - self._other_seconds
        for gatherer, _ in list(self._served):
            gatherer.seal_if_quiet(_QUIET_SECONDS)
        if self._unflushed and time.monotonic() - self._flushed >= self._flush_seconds:
            self._flush()
        return True

    def _call(self, then: Callable[[], object]) -> None:
        try:
            then()
        except Exception as error:  # the thread must go on taking
            _log.error("%s: failed in the writer's thread: %s", then, error, exc_info=error)

    def _write(self, works: list[Work]) -> None:
        # In order, and those of one kind that follow each other together.
        for (deliveries, counts), group in groupby(works, key=self._kind):
            start = time.thread_time()
            some = list(group)
            self._unflushed = True
            try:
                steps = Steps(self._read([work.gathered for work in some]))
                if steps.items:
                    deliveries.write(steps)
            except BaseException as error:
                # Also of an interrupt or exit raised in here: the thread must go on taking.
                self._reading.fail(error)
            for work in some:
                for room in work.rooms:
                    room.put(None)
            if not counts:
                seconds = time.thread_time() - start
                self._other_seconds += seconds
                for work in some:
                    if work.gathered.deferred:
                        note_writing(work.gathered.deferred.values(), seconds)

    def _read(self, gathered: Sequence[Gathering | Block]) -> list[HostItem]:
        try:
            found = read_items(gathered)
        except Exception as error:
            if len(gathered) > 1:  # one of the steps is the cause
                return [item for one in gathered for item in self._read([one])]
            step = gathered[0].step
            self._reading.fail(error)
            self._reading.lose(step, step, 1)
            return []
        self._reading.end()
        return found

    def _kind(self, work: Work) -> tuple[Deliveries, bool]:
        """For which sinks, and whether what this takes is a price of sampling: numbers only."""
        what = work.gathered
        others = what.images or what.texts or what.hparams or what.deferred
        return work.deliveries, work.deliveries is self._served[0][1] and not others

    def _flush(self) -> None:
        self._flushed, self._unflushed = time.monotonic(), False
        for _, deliveries in reversed(self._served):
            deliveries.flush()
        self._unflushed = self.failing is not None  # wake up to try again even if nothing new comes

    def _close(self) -> None:
        for _, deliveries in reversed(self._served):  # a sub-run may need its parent
            deliveries.close()
        self._reading.close()
