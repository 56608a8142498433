"""The time that monitoring takes: on the host, and on a CUDA device if there is one."""

from collections.abc import Callable
from time import perf_counter
from typing import Any

from trainkit.handlers.sampling.device_clock import DeviceClock

__all__ = ["Stopwatch"]


class Stopwatch:
    """Measures the calls of monitors for one sampler.

    `start` and `stop` time one call on both clocks. The code that runs in every iteration adds to
    `seconds` by itself: two more function calls would cost as much as what they measure.

    Args:
        now: The host's clock, in seconds.
    """

    __slots__ = ("device", "now", "seconds")

    def __init__(self, now: Callable[[], float] = perf_counter) -> None:
        self.now = now
        #: Host seconds since the last `take`.
        self.seconds = 0.0
        #: The clock of the device on which the parameters are; None on a CPU.
        self.device: DeviceClock | None = None

    def start(self) -> tuple[Any, float]:
        """Start timing a call; give the result to `stop`."""
        return None if self.device is None else self.device.start(), self.now()

    def stop(self, started: tuple[Any, float]) -> float:
        """Stop timing a call.

        Returns:
            The host seconds that it took. They are not added to `seconds`.
        """
        mark, began = started
        seconds = self.now() - began
        if self.device is not None:
            self.device.stop(mark, seconds)
        return seconds

    def take(self) -> float:
        """`seconds`, which then start from 0 again."""
        seconds, self.seconds = self.seconds, 0.0
        return seconds
