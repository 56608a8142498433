"""Gathers what is written at one step, and hands it on when the next step comes."""

import threading
import time
from collections.abc import Callable
from operator import index
from typing import Any, Protocol, TypeVar

from torch import Tensor

from trainkit.writers.protocol import Curve
from trainkit.writers.step.pending import Gathering
from trainkit.writers.step.tracks import EXACT, MOST, Block, Track

__all__ = ["Destination", "Gatherer"]

_Values = TypeVar("_Values")

# Points of curves are handed on after waiting this many seconds.
_POINTS_WAIT = 0.25


class Destination(Protocol):
    """Where gathered steps go."""

    def check(self) -> None:
        """Raise where nothing more can be written, and say why; asked when a step begins."""

    def deliver(self, gathered: Gathering | Block) -> None:
        """Take everything of one step, or points of a curve at several steps."""


class Gatherer:
    """Gathers what is written, step by step, and hands each step on when it is complete.

    A step is complete when another one comes, or when somebody says so. Safe to use from several
    threads.

    Args:
        destination: Gets what was gathered.
    """

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self._current: Gathering | None = None
        self._tracks: dict[Curve, Track] = {}
        self._lock = threading.RLock()

    def add(self, step: int, add: Callable[[Gathering, _Values], None], values: _Values) -> None:
        """Call `add(gathering, values)` with the gathering of this step."""
        with self._lock:
            current = self._current
            if current is None or current.step != step:
                step = _check_step(step)
                self._destination.check()
                current = self._begin(step)
            add(current, values)
            current.changed = time.monotonic()

    def _begin(self, step: int) -> Gathering:
        """Hand on what came before, except points of this same step: they join its event."""
        rows = [
            (track.curve.tags, track.take_back())
            for track in self._tracks.values()
            if track.steps and track.steps[-1] == step and 1 < track.rows < EXACT
        ]
        self.seal()
        self._current = current = Gathering(step)
        for tags, values in rows:
            current.add_row(tags, values)
        return current

    def add_point(self, step: int, curve: Curve, values: tuple[float, ...] | Tensor) -> None:
        """Keep a point of a curve. Hot path (every iteration): few operations."""
        with self._lock:
            track = self._tracks.get(curve)
            if track is None:
                track = self._tracks[curve] = Track(curve)
            current = self._current
            if current is not None and current.step != step:
                self.seal()
            elif current is not None and 0 < track.rows < EXACT:  # one event for both
                track.rows += 1
                current.add_row(curve.tags, values)
                current.changed = time.monotonic()
                return
            if not track.steps:
                step = _check_step(step)
                self._destination.check()
            track.add(step, values)
            if len(track.steps) >= MOST:
                self.seal()

    def points(self, curve: Curve) -> Callable[[int, tuple[float, ...] | Tensor], None]:
        """A function that keeps points of this curve: `add_point`, faster in the usual case."""
        lock = self._lock
        track = self._tracks.get(curve)
        if track is None:
            with lock:
                track = self._tracks[curve] = Track(curve)
        known = track

        def keep(step: int, values: tuple[float, ...] | Tensor) -> None:
            with lock:
                if (
                    type(values) is tuple
                    and self._current is None
                    and 0 < len(known.steps) < MOST - 1
                ):
                    known.steps.append(step)
                    known.values.append(values)
                    known.rows += 1
                    return
            self.add_point(step, curve, values)

        return keep

    def seal(self, ended: bool = False) -> None:
        """Hand on what was gathered so far.

        Args:
            ended: Whether nothing else will come: unfinished means of curves are closed.
        """
        with self._lock:
            current, self._current = self._current, None
            if current is not None:
                self._destination.deliver(current)
            # A step begins only after the points before it were handed on: this order is by step.
            for track in self._tracks.values():
                if track.steps or (ended and track.rows > EXACT):
                    self._destination.deliver(track.cut(ended))

    def seal_if_quiet(self, seconds: float) -> None:
        """Hand on what was gathered, if nothing was added to it for so long; never waits."""
        if self._lock.acquire(blocking=False):
            try:
                if self._current and time.monotonic() - self._current.changed >= seconds:
                    self.seal()
                elif any(track.steps for track in self._tracks.values()):
                    oldest = min(track.began for track in self._tracks.values() if track.steps)
                    if not 0 <= time.time() - oldest < _POINTS_WAIT:
                        self.seal()
            finally:
                self._lock.release()


def _check_step(step: Any) -> int:
    # `index` would read a tensor from its device.
    if isinstance(step, Tensor):
        raise TypeError("step must be an int, got a tensor; pass engine.state.iteration")
    number = index(step)
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"step must fit into 64 bits, got {number}")
    return number
