"""The thread behind a background writer: reads what was gathered, and writes it."""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import groupby
from queue import Empty, SimpleQueue
from typing import NamedTuple

import numpy as np
from torch import Tensor

from trainkit.writers.delivery import Delivery
from trainkit.writers.front import Gatherer
from trainkit.writers.outage import Outage, failing
from trainkit.writers.protocol import Writer
from trainkit.writers.step.host_step import HostBlock, HostItem, write_steps
from trainkit.writers.step.pending import Gathering
from trainkit.writers.step.to_host import read_items
from trainkit.writers.step.tracks import Block

__all__ = ["Lane", "Worker"]

_log = logging.getLogger("trainkit")

# A step to which nothing was added for so long is taken to be complete.
_QUIET_SECONDS = 0.5
# The thread looks for work so often, or when half of the queue is full. Several steps in a row
# cost much less than as many awakenings, each of which takes Python's lock from the training.
_NAP_SECONDS = 0.1
# Who waits for room looks so often whether there is some, and says so after so long in all.
_GLANCE_SECONDS, _LONG_SECONDS = 0.1, 2.0
# The end of a thread that the garbage collector stops is awaited for so long.
_PATIENCE_SECONDS = 2.0
# A step of more numbers than this counts for so many steps.
_MANY, _LARGE = 1 << 14, 32


class Lane:
    """One writer (the run's, or a sub-run's) and the step that is being gathered for it."""

    def __init__(self, writer: Writer, worker: "Worker") -> None:
        self.writer = writer
        self.gatherer = Gatherer(lambda gathering: worker.submit(self, gathering), worker.check)
        self.delivery = Delivery(
            repr(writer), partial(write_steps, writer), together=True, beside=id(worker)
        )


class _Work(NamedTuple):
    lane: Lane
    gathering: Gathering | Block
    rooms: "Sequence[SimpleQueue[None]]"  # that it takes a place of


class _Flush(NamedTuple):
    done: threading.Event


class _Stop(NamedTuple):
    """Nothing comes after it."""


class Worker:
    """One daemon thread that writes, in order, what any number of lanes submit.

    What a writer refuses is kept for it and tried again (`Delivery`). Everything is still taken
    meanwhile: while a writer fails, a step for which there is no room is given up, so that the
    training does not wait in vain.

    Args:
        writer: Flushed by time, and closed at the end.
        queue_size: Steps that may wait; large ones less.
        flush_seconds: At the latest so long after it was written a step can be read by others.
    """

    def __init__(self, writer: Writer, queue_size: int, flush_seconds: float) -> None:
        self.writer = writer
        self.lanes: list[Lane] = []
        self.listeners: list[Callable[[int, Sequence[str]], None]] = []
        # Processor time of the thread: for numbers in the first lane, and for all else.
        self.seconds = self._other_seconds = 0.0
        self._flush_seconds = flush_seconds
        # SimpleQueue's put may be called even from a finalizer; what lies in `_room` is its bound.
        self._queue: SimpleQueue[_Work | _Flush | _Stop] = SimpleQueue()
        self._alarm_clock: SimpleQueue[None] = SimpleQueue()
        self._enough = max(1, queue_size // 2)
        self._large = max(1, queue_size // _LARGE)
        self._room, self._large_room = _places(queue_size), _places(self._large)
        self._reading = Outage(f"what is read for {writer!r}")
        # For room, in seconds, and whether that was said.
        self._waited, self._told_of_waiting = 0.0, False
        self._closed = False
        self._flushed = time.monotonic()
        self._unflushed = False
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._run, name="trainkit-writer", daemon=True)
        self._thread.start()

    def lane(self, writer: Writer) -> Lane:
        """A new lane, for this writer."""
        lane = Lane(writer, self)
        self.lanes.append(lane)
        return lane

    def check(self) -> None:
        """Raise where nothing more can be written, and say why."""
        if os.getpid() != self._pid:
            raise RuntimeError(
                f"this background writer belongs to process {self._pid}, this is {os.getpid()}, "
                "a fork without its thread; open one writer per process, each in its own directory"
            )
        if self._closed:
            raise RuntimeError(
                f"the background writer of {self.writer!r} is closed; open a new one"
            )

    @property
    def failing(self) -> BaseException | None:
        """What keeps a lane from being written now."""
        found = (lane.delivery.outage.error or failing(lane.writer) for lane in list(self.lanes))
        return next((error for error in found if error is not None), None)

    def submit(self, lane: Lane, gathering: Gathering | Block) -> None:
        """Have it written; waits only while the queue is full."""
        large = sum(map(Tensor.numel, gathering.tensors)) > _MANY
        rooms: Sequence[SimpleQueue[None]]
        if threading.current_thread() is self._thread:
            rooms = ()  # it must not wait for room that only it can make
        else:
            rooms = (self._room, self._large_room) if large else (self._room,)
        for place, room in enumerate(rooms):
            if not self._has_place(room, lane):
                for taken in rooms[:place]:
                    taken.put(None)
                lane.delivery.outage.lose(gathering.step, gathering.step, 1)
                return
        self._queue.put(_Work(lane, gathering, rooms))
        if self._queue.qsize() >= self._enough or (
            large and self._large_room.qsize() <= self._large // 2
        ):
            self._alarm_clock.put(None)

    def _has_place(self, room: "SimpleQueue[None]", lane: Lane) -> bool:
        """Take a place, and wait for it where that is worth while; a long wait is said, once."""
        with suppress(Empty):
            room.get_nowait()
            return True
        self._alarm_clock.put(None)
        start = time.monotonic()
        while not lane.delivery.outage:
            with suppress(Empty):
                room.get(timeout=_GLANCE_SECONDS)
                self._waited += time.monotonic() - start
                return True
            waited = self._waited + time.monotonic() - start
            if waited >= _LONG_SECONDS and not self._told_of_waiting:
                self._told_of_waiting = True
                _log.warning(
                    "training waits for %r, for %.0f s so far: as many steps wait to be written as "
                    "may. Nothing is lost. A faster disk would help, or fewer or smaller samples",
                    lane.writer, waited,
                )  # fmt: skip
        return False

    def flush(self) -> None:
        """Return when all that was written so far was written out, or failed."""
        for lane in list(self.lanes):
            lane.gatherer.seal()
        flush = _Flush(threading.Event())
        self._queue.put(flush)
        self._alarm_clock.put(None)
        while not flush.done.wait(1.0) and self._thread.is_alive():
            pass

    def forget(self) -> None:
        """Stop, for somebody who is forgotten."""
        # The garbage collector comes at any moment, also while this thread holds a lock (of the
        # log, say) that the other one needs to come to its end.
        self.stop(None if _is_ending() else _PATIENCE_SECONDS)

    def stop(self, patience: float | None = None) -> None:
        """Write everything, close the writer and end the thread; harmless in a forked child.

        Args:
            patience: For so long the end of the thread is awaited, in seconds; None for ever.
        """
        if self._closed or os.getpid() != self._pid:
            return
        for lane in self.lanes:
            lane.gatherer.seal(ended=True)
        self._closed = True
        self._queue.put(_Stop())
        self._alarm_clock.put(None)
        # The garbage collector may find a forgotten writer while this thread is at work.
        if threading.current_thread() is not self._thread:
            self._thread.join(patience)

    def _run(self) -> None:
        while self._work_off():
            with suppress(Empty):
                self._alarm_clock.get(timeout=_NAP_SECONDS)
                while True:  # it may have rung several times
                    self._alarm_clock.get_nowait()

    def _work_off(self) -> bool:
        """Write what waits; whether there may be more to come."""
        while not self._queue.empty():
            works, item = self._take()
            if works:
                self._write(works)
            # Holding on to them would hold their memory until the next step.
            works.clear()
            if isinstance(item, _Stop):
                self._close()
                return False
            if isinstance(item, _Flush):
                self._flush_now()
                item.done.set()
        self.seconds = time.thread_time() - self._other_seconds
        for lane in list(self.lanes):
            lane.gatherer.seal_if_quiet(_QUIET_SECONDS)
        if self._unflushed and time.monotonic() - self._flushed >= self._flush_seconds:
            self._flush_now()
        return True

    def _take(self) -> tuple[list[_Work], _Flush | _Stop | None]:
        """The steps that wait, and what is to be done when they are written."""
        works: list[_Work] = []
        while not self._queue.empty():
            item = self._queue.get()
            if not isinstance(item, _Work):
                return works, item
            works.append(item)
        return works, None

    def _write(self, works: list[_Work]) -> None:
        # In order, and those of one kind that follow each other together.
        for (lane, counts), group in groupby(works, key=self._kind):
            start = time.thread_time()
            some = list(group)
            self._unflushed = True
            try:
                self._write_steps(lane, self._read([work.gathering for work in some]))
            except BaseException as error:
                # Also of an interrupt or exit raised in here: the thread must go on taking.
                self._reading.fail(error)
            for work in some:
                for room in work.rooms:
                    room.put(None)
            if not counts:
                self._other_seconds += time.thread_time() - start

    def _read(self, gatherings: list[Gathering | Block]) -> list[HostItem]:
        try:
            found = read_items(gatherings)
        except Exception as error:
            if len(gatherings) > 1:  # one of them is the cause
                return [step for one in gatherings for step in self._read([one])]
            step = gatherings[0].step
            self._reading.fail(error)
            self._reading.lose(step, step, 1)
            return []
        self._reading.end()
        return found

    def _kind(self, work: _Work) -> tuple[Lane, bool]:
        """The lane, and whether what this takes is a price of sampling: it is of numbers only."""
        what = work.gathering
        others = what.images or what.texts or what.hparams or what.deferred
        return work.lane, work.lane is self.lanes[0] and not others

    def _write_steps(self, lane: Lane, host_steps: Sequence[HostItem]) -> None:
        if lane is self.lanes[0]:
            for host_step in host_steps:
                self._tell_what_is_not_finite(host_step)
        lane.delivery.write(host_steps)

    def _tell_what_is_not_finite(self, host_step: HostItem) -> None:
        if not self.listeners:
            return
        if isinstance(host_step, HostBlock):
            if not np.isfinite(host_step.values).all():
                for alone in host_step.alone():
                    self._tell_what_is_not_finite(alone)
            return
        bad = [
            tags[i]
            for tags, values in host_step.scalars
            if not (finite := np.isfinite(values)).all()
            for i in np.flatnonzero(~finite).tolist()
        ]
        if bad:
            for listener in list(self.listeners):
                listener(host_step.step, bad)

    def _flush_now(self) -> None:
        self._flushed, self._unflushed = time.monotonic(), False
        for lane in list(self.lanes):
            lane.delivery.retry()
        # The first lane's writer flushes those of sub-runs, which belong to it.
        self.lanes[0].delivery.attempt(self.writer.flush)
        self._unflushed = self.failing is not None  # to try again though nothing new comes

    def _close(self) -> None:
        for lane in self.lanes[1:]:
            lane.delivery.close(_nothing)
        self.lanes[0].delivery.close(self.writer.close)
        self._reading.close()


def _nothing() -> None:
    """Sub-runs are closed with their parent."""


def _is_ending() -> bool:
    """Whether the interpreter ends: what is not written now never will be."""
    return not threading.main_thread().is_alive()


def _places(count: int) -> "SimpleQueue[None]":
    """As many places, to be got and put back; a semaphore is written in Python, and slower."""
    room: SimpleQueue[None] = SimpleQueue()
    for _ in range(count):
        room.put(None)
    return room
