"""In which iterations to measure."""

from typing import Protocol

__all__ = ["Cadence", "Every"]


class Cadence(Protocol):
    """Says which iterations are sampled.

    More methods are called where there are any: `plan(iteration, last)`, when an epoch begins, with
    the last iteration that is over and the one with which the run will end (None: not known);
    `spend_beside(seconds)`, with the processor
    time that the writer's thread took since the last call, or what the monitors took of a device
    beyond the host's time; `pause(seconds)`, when an epoch begins, with the time since the last
    iteration; and `alarm(iteration)`, when something was not finite in that iteration, by whichever
    thread has seen it.
    """

    def due(self, iteration: int) -> bool:
        """Whether to measure in this iteration (the first is 1)."""

    def spend(self, seconds: float) -> None:
        """Take note of what measuring cost, in seconds of host time."""


class Every:
    """The first iteration, so that there is something to see at once, and then every n-th.

    Args:
        every: In iterations, 1 or more.

    Raises:
        TypeError: `every` is not an integer.
        ValueError: `every` is less than 1.

    Example:
        >>> [i for i in range(1, 10) if Every(4).due(i)]
        [1, 4, 8]
    """

    def __init__(self, every: int) -> None:
        if isinstance(every, bool) or not isinstance(every, int):
            raise TypeError(f"every must be a number of iterations, got {every!r}")
        if every < 1:
            raise ValueError(f"every must be at least 1 iteration, got {every}")
        self.every = every

    def due(self, iteration: int) -> bool:
        """Whether to measure in this iteration (the first is 1)."""
        return iteration == 1 or iteration % self.every == 0

    def spend(self, seconds: float) -> None:
        """Do nothing: a fixed cadence costs what it costs."""
