"""Progress and speed of a run, and the time that it still needs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

__all__ = ["Pace"]


class Pace:
    """Iterations and evaluations are timed apart, because they take different times.

    remaining = iterations left · mean time of an iteration + evaluations left · mean time of one.
    The first iteration, which warms up, is left out of the mean.

    Args:
        iterations: Of the whole run.
        evaluations: Of the whole run.
        clock: Tells the time in seconds.
    """

    def __init__(
        self, iterations: int, evaluations: int = 0, clock: Callable[[], float] = perf_counter
    ) -> None:
        self._clock = clock
        self.iterations = iterations
        self._evaluations = evaluations
        self._evaluated = 0
        self._seconds = 0.0  # in evaluations, since the first iteration that counts
        self._all_seconds = 0.0
        self._from = (0, self._clock())

    def begin(self, iteration: int) -> None:
        """Count from here: when the run begins, and again after its first iteration."""
        self._from, self._seconds = (iteration, self._clock()), 0.0

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Inside, an evaluation takes place."""
        begun = self._clock()
        try:
            yield
        finally:
            took = self._clock() - begun
            self._evaluated += 1
            self._seconds += took
            self._all_seconds += took

    def done(self, iteration: int) -> float:
        """The share of the iterations that are done."""
        return iteration / max(self.iterations, 1)

    def seconds_per_iteration(self, iteration: int) -> float:
        """Mean, evaluations left out; 0 while it is not known."""
        first, begun = self._from
        made = iteration - first
        return (self._clock() - begun - self._seconds) / made if made > 0 else 0.0

    def speed(self, iteration: int) -> str:
        """Iterations per second, or seconds per iteration where they are slow."""
        seconds = self.seconds_per_iteration(iteration)
        if not seconds:
            return ""
        return f"{1 / seconds:.3g} it/s" if seconds < 1 else f"{seconds:.3g} s/it"

    def remaining(self, iteration: int) -> float:
        """Seconds that the rest of the run will take."""
        left = max(self.iterations - iteration, 0) * self.seconds_per_iteration(iteration)
        if self._evaluated:
            mean = self._all_seconds / self._evaluated
            left += max(self._evaluations - self._evaluated, 0) * mean
        return left
