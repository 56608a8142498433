"""Measure what monitoring costs."""

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

from trainkit.handlers.sampling.cadence import Cadence, Every, Filtered

__all__ = ["SMOOTHING", "UNSEEN", "Metered"]

# An iteration that took so many times the usual one held something else, e.g. an evaluation.
_PAUSE = 10.0
#: Weight of the newest value in a running mean.
SMOOTHING = 0.1
# A clock around the calls of monitors does not see all of their cost: torch and Ignite have to
# call them, and training finds its caches filled with other things afterwards. That weighs most
# where the calls are short. These factors, in a sampled iteration and in one that is not, make
# trainkit report of itself what `benchmarks/monitoring.py` finds.
UNSEEN = (1.2, 3.0)


class Metered:
    """A cadence, and what measuring costs with it.

    overhead_fraction = what monitoring took / what the iterations took without it: what a
    comparison with an unwatched run would find. It counts the host time of the monitors, their
    calls of the writer included, with an allowance for what no clock in them can see; what they
    took of a CUDA device beyond that; and the processor time of the writer's thread, which works
    beside the training. What happens between
    epochs is left out, the monitors of evaluators with it, and most of every other pause: an
    iteration counts ten usual ones at most. The first sample, which imports, works out names and
    allocates, is counted apart, in `first_sample_seconds`: it comes once, however long the
    training is. `samples` counts the iterations that were sampled.

    Args:
        cadence: Says which iterations are sampled.
        clock: Seconds, for the iterations.
        unseen: Factors on host time, in a sampled iteration and in one that is not, for what a
            clock around the calls of monitors does not see.

    Example:
        >>> from ignite.engine import Engine
        >>> from trainkit import Every, MemoryMonitor, MemoryWriter, Metered, Sampler
        >>> metered = Metered(Every(5))
        >>> trainer = Engine(lambda engine, batch: 0.5)
        >>> handle = MemoryMonitor(MemoryWriter(), Sampler(metered)).attach(trainer)
        >>> state = trainer.run(range(20))
        >>> metered.samples  # iterations 1, 5, 10, 15 and 20
        5
    """

    # What a resumed training goes on with.
    _counted: tuple[str, ...] = (
        "samples", "spent", "first_sample_seconds", "training", "iteration_seconds",
    )  # fmt: skip

    def __init__(
        self,
        cadence: Cadence,
        *,
        clock: Callable[[], float] = perf_counter,
        unseen: tuple[float, float] = UNSEEN,
    ) -> None:
        self.cadence = cadence
        self._clock = clock
        self._unseen, self._unseen_idle = unseen
        # Those two count nothing.
        self._tell = None if type(cadence) in (Every, Filtered) else cadence.spend
        self.samples = 0
        self.spent = 0.0
        self.first_sample_seconds = 0.0
        self.training = 0.0
        self.iteration_seconds = 0.0
        self._last: float | None = None
        self._sampling = False
        # Of the iteration that is going on: host time, and time of other threads.
        self._within = 0.0
        self._beside = 0.0

    @property
    def every(self) -> int | None:
        """Iterations between samples, now, if the cadence tells."""
        return getattr(self.cadence, "every", None)

    @property
    def overhead_fraction(self) -> float:
        """What monitoring took of each second of training; 0 in the first iteration."""
        return self.spent / self.training if self.training > 0 else 0.0

    def due(self, iteration: int) -> bool:
        """Whether to measure in this iteration (the first is 1)."""
        self.tick()
        self._sampling = self.cadence.due(iteration)
        self.samples += self._sampling
        return self._sampling

    def spend(self, seconds: float) -> None:
        """Take note of what measuring cost, in seconds of host time."""
        self._within += seconds
        if self._tell is not None:
            self._tell(seconds)

    def spend_beside(self, seconds: float) -> None:
        """Take note of time that another thread, or a device, took for it."""
        self._beside += seconds

    def spend_apart(self, seconds: float) -> None:
        """Take note of time that was taken for no iteration: for pictures of an evaluation."""
        self.spent += seconds

    def state_dict(self) -> dict[str, Any]:
        """What was counted so far."""
        return {name: getattr(self, name) for name in self._counted}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on counting from there."""
        for name in self._counted:
            setattr(self, name, state_dict[name])

    def pause(self, seconds: float) -> None:
        """Leave out time in which there was no training: between epochs, or between runs."""
        if self._last is not None:
            self._last += seconds

    # Hot path (every iteration): few operations, no avoidable function call.
    def tick(self) -> tuple[float, float]:
        """Note that an iteration begins; what the one before took without monitoring, and with."""
        now = self._clock()
        last, self._last = self._last, now
        if last is None:
            self._within = self._beside = 0.0
            return 0.0, 0.0
        seconds, cost = now - last, self._within
        if cost:
            # Of what is counted in this iteration a little lies before it: that can be long where
            # the processor was taken away just then.
            seconds = seconds - cost if seconds > cost else 0.0
            if not self._sampling:
                cost = cost * self._unseen_idle + self._beside
                self.spent += cost
            elif self.first_sample_seconds:
                cost = cost * self._unseen + self._beside
                self.spent += cost
            else:
                cost += self._beside
                self.first_sample_seconds = cost
            self._within = self._beside = 0.0
        usual = self.iteration_seconds
        if usual:
            if seconds > _PAUSE * usual:
                seconds = _PAUSE * usual
            self.iteration_seconds = usual + SMOOTHING * (seconds - usual)
        else:
            self.iteration_seconds = seconds
        self.training += seconds
        return seconds, cost
