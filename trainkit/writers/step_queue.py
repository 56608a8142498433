"""The queue between a front and its thread: bounded, so that a slow sink cannot fill the memory."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import NamedTuple

from torch import Tensor

from trainkit.writers.delivery import Deliveries
from trainkit.writers.step.pending import Gathering
from trainkit.writers.step.tracks import Block

__all__ = ["Flush", "StepQueue", "Stop", "Work"]

_log = logging.getLogger("trainkit")

# Somebody who waits for room looks this often whether there is some, and after this long in all
# the log says so.
_GLANCE_SECONDS, LONG_SECONDS = 0.1, 2.0
# A step of more numbers than this counts for so many steps.
_MANY, _LARGE = 1 << 14, 32


class Work(NamedTuple):
    """What was gathered, and for which sinks."""

    deliveries: Deliveries
    gathered: Gathering | Block
    rooms: "Sequence[SimpleQueue[None]]"  # number of places that it takes


class Flush(NamedTuple):
    """Everything before it is to be flushed; then `done` is set, and `then` is called."""

    done: threading.Event
    then: Callable[[], object] | None = None


class Stop(NamedTuple):
    """Nothing comes after it."""


class StepQueue:
    """Gathered steps that wait to be written.

    Args:
        size: Steps that may wait; large ones less.
    """

    def __init__(self, size: int) -> None:
        # SimpleQueue's put may be called even from a finalizer; the places are its bound.
        self._items: SimpleQueue[Work | Flush | Stop] = SimpleQueue()
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._enough = max(1, size // 2)
        self._large = max(1, size // _LARGE)
        self._room, self._large_room = _places(size), _places(self._large)
        # Seconds waited for room, and whether the log said so.
        self._waited, self._told_of_waiting = 0.0, False
        #: The thread that takes from the queue; it never waits for room, which only it makes.
        self.reader: int | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return self._items.empty()

    def put(self, deliveries: Deliveries, gathered: Gathering | Block) -> None:
        """Have it written; waits only while the queue is full.

        While every sink fails, a step without room is given up: the training must not wait for it.
        """
        large = sum(map(Tensor.numel, gathered.tensors)) > _MANY
        rooms: Sequence[SimpleQueue[None]]
        if threading.get_ident() == self.reader:
            rooms = ()
        else:
            rooms = (self._room, self._large_room) if large else (self._room,)
        for place, room in enumerate(rooms):
            if not self._has_place(room, deliveries):
                for taken in rooms[:place]:
                    taken.put(None)
                deliveries.lose(gathered.step)
                return
        self._items.put(Work(deliveries, gathered, rooms))
        if self._items.qsize() >= self._enough or (
            large and self._large_room.qsize() <= self._large // 2
        ):
            self._bell.put(None)

    def put_flush(self, then: Callable[[], object] | None = None) -> threading.Event:
        """Have everything so far flushed; the event is set when that is done.

        Args:
            then: Called in the thread before that, and before anything later is written.
        """
        flush = Flush(threading.Event(), then)
        self._items.put(flush)
        self._bell.put(None)
        return flush.done

    def put_stop(self) -> None:
        """Nothing more will come."""
        self._items.put(Stop())
        self._bell.put(None)

    def wait(self, seconds: float) -> None:
        """Wait until there is enough to do, at most this long."""
        with suppress(Empty):
            self._bell.get(timeout=seconds)
            while True:  # it may have rung several times
                self._bell.get_nowait()

    def take(self) -> tuple[list[Work], Flush | Stop | None]:
        """The steps that wait, and what is to be done when they are written."""
        works: list[Work] = []
        while not self._items.empty():
            item = self._items.get()
            if not isinstance(item, Work):
                return works, item
            works.append(item)
        return works, None

    def _has_place(self, room: "SimpleQueue[None]", deliveries: Deliveries) -> bool:
        """Take a place, and wait for it unless every sink fails; a long wait is said, once."""
        with suppress(Empty):
            room.get_nowait()
            return True
        self._bell.put(None)
        start = time.monotonic()
        while not deliveries.all_fail:
            with suppress(Empty):
                room.get(timeout=_GLANCE_SECONDS)
                self._waited += time.monotonic() - start
                return True
            waited = self._waited + time.monotonic() - start
            if waited >= LONG_SECONDS and not self._told_of_waiting:
                self._told_of_waiting = True
                _log.warning(
                    "training waits for %r, for %.0f s so far: as many steps wait to be written as "
                    "may. Nothing is lost. A faster disk would help, or fewer or smaller samples",
                    deliveries, waited,
                )  # fmt: skip
        return False


def _places(count: int) -> "SimpleQueue[None]":
    """As many places, to be got and put back; a semaphore is written in Python, and slower."""
    room: SimpleQueue[None] = SimpleQueue()
    for _ in range(count):
        room.put(None)
    return room
