"""The thread behind a background writer: reads what was gathered, and writes it."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import groupby
from queue import Empty, SimpleQueue
from typing import NamedTuple, TypeVar

import numpy as np
from torch import Tensor

from trainkit.writers.gatherer import Gatherer
from trainkit.writers.gathering import Gathering
from trainkit.writers.host_step import HostStep, write_steps
from trainkit.writers.protocol import Writer
from trainkit.writers.reading import read_steps

__all__ = ["Lane", "Worker"]

_Result = TypeVar("_Result")

# A step to which nothing was added for so long is taken to be complete.
_QUIET_SECONDS = 0.5
# The thread looks for work so often, or when half of the queue is full. Several steps in a row
# cost much less than as many awakenings, each of which takes Python's lock from the training.
_NAP_SECONDS = 0.1
# A step of more numbers than this counts for so many steps.
_MANY, _LARGE = 1 << 14, 32


class Lane:
    """One writer (the run's, or a sub-run's) and the step that is being gathered for it."""

    def __init__(self, writer: Writer, worker: "Worker") -> None:
        self.writer = writer
        self.gatherer = Gatherer(lambda gathering: worker.submit(self, gathering), worker.check)


class _Work(NamedTuple):
    lane: Lane
    gathering: Gathering
    rooms: "Sequence[SimpleQueue[None]]"  # that it takes a place of


class _Flush(NamedTuple):
    done: threading.Event


class _Stop(NamedTuple):
    """Nothing comes after it."""


class Worker:
    """One daemon thread that writes, in order, what any number of lanes submit.

    After a fault nothing is written any more, but everything is still taken, so that nobody
    waits for room in vain; `check` raises the fault.

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
        self._failure: tuple[BaseException, str] | None = None
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
        if self._failure is not None:
            self.check_failure()
        if self._closed:
            raise RuntimeError(
                f"the background writer of {self.writer!r} is closed; open a new one"
            )

    def check_failure(self) -> None:
        """Raise what failed in the thread, if anything did."""
        if self._failure is not None:
            error, what = self._failure
            raise RuntimeError(
                f"{what} failed in the background, and nothing was written since: "
                f"{type(error).__name__}: {error}. Mend the cause and open a new writer; what was "
                "flushed before can be read"
            ) from error

    def submit(self, lane: Lane, gathering: Gathering) -> None:
        """Have it written; waits only while the queue is full."""
        large = sum(map(Tensor.numel, gathering.tensors)) > _MANY
        rooms: Sequence[SimpleQueue[None]]
        if threading.current_thread() is self._thread:
            rooms = ()  # it must not wait for room that only it can make
        else:
            rooms = (self._room, self._large_room) if large else (self._room,)
        for room in rooms:
            room.get()
        self._queue.put(_Work(lane, gathering, rooms))
        if self._queue.qsize() >= self._enough or (
            large and self._large_room.qsize() <= self._large // 2
        ):
            self._alarm_clock.put(None)

    def flush(self) -> None:
        """Return when all that was written so far was written out, or failed."""
        for lane in list(self.lanes):
            lane.gatherer.seal()
        flush = _Flush(threading.Event())
        self._queue.put(flush)
        self._alarm_clock.put(None)
        while not flush.done.wait(1.0) and self._thread.is_alive():
            pass

    def stop(self) -> None:
        """Write everything, close the writer and end the thread; harmless in a forked child."""
        if self._closed or os.getpid() != self._pid:
            return
        for lane in self.lanes:
            lane.gatherer.seal()
        self._closed = True
        self._queue.put(_Stop())
        self._alarm_clock.put(None)
        # The garbage collector may find a forgotten writer while this thread is at work.
        if threading.current_thread() is not self._thread:
            self._thread.join()

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
                self._attempt("closing the writer", self.writer.close)
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
            host_steps: list[HostStep] = []
            if self._failure is None:
                self._unflushed = True
                read = partial(read_steps, [work.gathering for work in some])
                host_steps = self._attempt("reading what is to be written", read) or []
            if host_steps:
                first, last = host_steps[0].step, host_steps[-1].step
                steps = f"step {first}" if first == last else f"steps {first} to {last}"
                write = partial(self._write_steps, lane, host_steps)
                self._attempt(f"writing {steps} with {lane.writer!r}", write)
            for work in some:
                for room in work.rooms:
                    room.put(None)
            if not counts:
                self._other_seconds += time.thread_time() - start

    def _kind(self, work: _Work) -> tuple[Lane, bool]:
        """The lane, and whether what this takes is a price of sampling: it is of numbers only."""
        what = work.gathering
        others = what.images or what.texts or what.hparams
        return work.lane, work.lane is self.lanes[0] and not others

    def _write_steps(self, lane: Lane, host_steps: Sequence[HostStep]) -> None:
        if lane is self.lanes[0]:
            for host_step in host_steps:
                self._tell_what_is_not_finite(host_step)
        write_steps(lane.writer, host_steps)

    def _tell_what_is_not_finite(self, host_step: HostStep) -> None:
        if not self.listeners:
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
        if self._failure is None:
            self._attempt("flushing the writer", self.writer.flush)

    def _attempt(self, what: str, act: Callable[[], _Result]) -> _Result | None:
        try:
            return act()
        except BaseException as error:
            # Also of an interrupt or exit raised in here: the thread must go on taking.
            self._failure = self._failure or (error, what)
            return None


def _places(count: int) -> "SimpleQueue[None]":
    """As many places, to be got and put back; a semaphore is written in Python, and slower."""
    room: SimpleQueue[None] = SimpleQueue()
    for _ in range(count):
        room.put(None)
    return room
