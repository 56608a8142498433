"""Step after step: gathers one and hands it on when the next one comes."""

import threading
import time
from collections.abc import Callable
from operator import index
from typing import Any, TypeVar

from torch import Tensor

from trainkit.writers.gathering import Gathering

__all__ = ["Gatherer"]

_Values = TypeVar("_Values")


class Gatherer:
    """Gathers what is written, step by step, and hands each step on when it is complete.

    A step is complete when another one comes, or when somebody says so. Safe to use from several
    threads.

    Args:
        deliver: Takes what was gathered at one step.
        ready: Raises where nothing more can be written; asked when a step begins.
    """

    def __init__(self, deliver: Callable[[Gathering], None], ready: Callable[[], None]) -> None:
        self._deliver = deliver
        self._ready = ready
        self._current: Gathering | None = None
        self._lock = threading.RLock()

    def add(self, step: int, add: Callable[[Gathering, _Values], None], values: _Values) -> None:
        """Call `add(gathering, values)` with the gathering of this step."""
        with self._lock:
            current = self._current
            if current is None or current.step != step:
                step = _check_step(step)
                self._ready()
                self.seal()
                self._current = current = Gathering(step)
            add(current, values)
            current.changed = time.monotonic()

    def seal(self) -> None:
        """Hand on what was gathered so far."""
        with self._lock:
            current, self._current = self._current, None
            if current is not None:
                self._deliver(current)

    def seal_if_quiet(self, seconds: float) -> None:
        """Hand on what was gathered, if nothing was added to it for so long; never waits."""
        if self._lock.acquire(blocking=False):
            try:
                if self._current and time.monotonic() - self._current.changed >= seconds:
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
