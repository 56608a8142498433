"""What measuring costs, and sampling as often as a budget allows."""

from time import perf_counter

from ignite.engine import Engine

from trainkit.handlers.cadence import Cadence
from trainkit.handlers.monitor import Monitor
from trainkit.handlers.sampler import Sampler
from trainkit.writers.protocol import Writer

__all__ = ["Budget", "CostMonitor", "Metered"]

# An iteration that took so many times the usual one held something else, e.g. an evaluation.
_PAUSE = 10.0
_SMOOTHING = 0.1
_FIRST = 3  # iterations that are sampled whatever they cost


class Metered:
    """A cadence, and what measuring costs with it.

    overhead_fraction = seconds spent in monitors / seconds of training so far, both of host
    time. Pauses between iterations (evaluations, checkpoints) are no training: an iteration
    counts ten usual ones at most.

    Args:
        cadence: Says which iterations are sampled.
    """

    def __init__(self, cadence: Cadence) -> None:
        self.cadence = cadence
        self.spent = 0.0
        self.elapsed = 0.0
        self.iteration_seconds = 0.0
        self._last: float | None = None

    @property
    def every(self) -> int | None:
        """Iterations between samples, now, if the cadence tells."""
        return getattr(self.cadence, "every", None)

    @property
    def overhead_fraction(self) -> float:
        """Share of the training time that was spent in monitors; 0 before the first iteration."""
        return self.spent / self.elapsed if self.elapsed > 0 else 0.0

    def due(self, iteration: int) -> bool:
        """Whether to measure in this iteration (the first is 1)."""
        self.tick(perf_counter())
        return self.cadence.due(iteration)

    def spend(self, seconds: float) -> None:
        """Take note of what measuring cost, in seconds of host time."""
        self.spent += seconds
        self.cadence.spend(seconds)

    def tick(self, now: float) -> float:
        """Note that an iteration begins; the seconds that the one before counts."""
        last, self._last = self._last, now
        if last is None:
            return 0.0
        seconds = now - last
        if self.iteration_seconds > 0:
            seconds = min(seconds, _PAUSE * self.iteration_seconds)
        weight = _SMOOTHING if self.iteration_seconds > 0 else 1.0
        self.iteration_seconds += weight * (seconds - self.iteration_seconds)
        self.elapsed += seconds
        return seconds


class Budget(Metered):
    """Samples as often as a share of the training time allows.

    Every iteration earns `share` of its seconds; a sample is due when the account covers what a
    sample usually costs, and is paid from it. The first three iterations are sampled on credit.
    Nothing is saved up beyond one sample, so that samples come evenly.

    Args:
        share: Of the training time, in (0, 1].

    Raises:
        ValueError: `share` is not in (0, 1].
    """

    def __init__(self, share: float) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"the budget must be a share of the time in (0, 1], got {share}")
        super().__init__(self)
        self.share = share
        self.sample_seconds = 0.0
        self._account = 0.0
        self._sample = 0.0
        self._sampling = False

    @property
    def every(self) -> int:
        """Iterations between samples, as the costs are now."""
        earned = self.share * self.iteration_seconds
        return max(1, round(self.sample_seconds / earned)) if earned > 0 else 1

    def due(self, iteration: int) -> bool:
        """Whether to measure in this iteration (the first is 1)."""
        self._account += self.share * self.tick(perf_counter())
        if self._sampling:
            weight = _SMOOTHING if iteration > _FIRST + 1 else 0.5
            if self.sample_seconds == 0:
                weight = 1.0
            self.sample_seconds += weight * (self._sample - self.sample_seconds)
            self._sample = 0.0
        self._account = min(self._account, self.sample_seconds)
        self._sampling = iteration <= _FIRST or self._account >= self.sample_seconds
        return self._sampling

    def spend(self, seconds: float) -> None:
        """Take note of what measuring cost, in seconds of host time."""
        self.spent += seconds
        self._account -= seconds
        self._sample += seconds


class CostMonitor(Monitor):
    """Writes what the monitoring itself costs.

    Tags: `monitor/overhead_fraction`, `monitor/every`.

    Args:
        writer: Where the numbers go.
        sampler: Of the monitors, with a `Metered` cadence.

    Raises:
        TypeError: The sampler's cadence does not measure its cost.
    """

    def __init__(self, writer: Writer, sampler: Sampler) -> None:
        super().__init__(writer, sampler)
        if not isinstance(sampler.cadence, Metered):
            raise TypeError(
                "CostMonitor needs a sampler with a Metered cadence, got "
                f"{type(sampler.cadence).__name__}; pass every=Metered(Every(n))"
            )
        self._metered = sampler.cadence

    def begin(self, engine: Engine) -> None:
        """Nothing to prepare."""

    def end(self, engine: Engine) -> None:
        """Write the cost so far."""
        scalars = {"monitor/overhead_fraction": self._metered.overhead_fraction}
        if self._metered.every is not None:
            scalars["monitor/every"] = float(self._metered.every)
        if self._metered.elapsed > 0:
            self.writer.write_scalars(engine.state.iteration, scalars)

    def cancel(self) -> None:
        """Nothing to take away."""
