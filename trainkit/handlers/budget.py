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
_NEARLY = 1 - 1e-9  # what adds up to a sample may be less than it by a rounding
# A clock around the monitors' calls does not see it all: torch and Ignite have to call them, and
# training finds its caches full of other things afterwards. It weighs most where the calls are
# short. So host time counts so many times, in a sampled iteration and in one that is not: chosen
# so that light reports of itself what `benchmarks/monitoring.py` finds.
_UNSEEN, _UNSEEN_IDLE = 1.2, 3.0
_AIM = 0.9  # of the budget is spent: it is a limit, and what a sample costs varies
_AT_LEAST = 0.25  # of the budget is for samples, even where looking when to sample uses it up
_FIRST = 3  # iterations that are sampled whatever they cost
_ALARMED = 10  # iterations that are sampled after one in which something was not finite


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
    training is.

    Args:
        cadence: Says which iterations are sampled.
    """

    def __init__(self, cadence: Cadence) -> None:
        self.cadence = cadence
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
        return self._sampling

    def spend(self, seconds: float) -> None:
        """Take note of what measuring cost, in seconds of host time."""
        self._within += seconds
        self.cadence.spend(seconds)

    def spend_beside(self, seconds: float) -> None:
        """Take note of time that another thread, or a device, took for it."""
        self._beside += seconds

    def pause(self, seconds: float) -> None:
        """Leave out time in which there was no training: between epochs, or between runs."""
        if self._last is not None:
            self._last += seconds

    # In every iteration: so few operations, and no function that could be done without.
    def tick(self) -> tuple[float, float]:
        """Note that an iteration begins; what the one before took without monitoring, and with."""
        now = perf_counter()
        last, self._last = self._last, now
        if last is None:
            self._within = self._beside = 0.0
            return 0.0, 0.0
        seconds, cost = now - last, self._within
        if cost:
            seconds -= cost
            if not self._sampling:
                cost = cost * _UNSEEN_IDLE + self._beside
                self.spent += cost
            elif self.first_sample_seconds:
                cost = cost * _UNSEEN + self._beside
                self.spent += cost
            else:
                cost += self._beside
                self.first_sample_seconds = cost
            self._within = self._beside = 0.0
        usual = self.iteration_seconds
        if usual:
            if seconds > _PAUSE * usual:
                seconds = _PAUSE * usual
            self.iteration_seconds = usual + _SMOOTHING * (seconds - usual)
        else:
            self.iteration_seconds = seconds
        self.training += seconds
        return seconds, cost


class Budget(Metered):
    """Samples as often as a share of the training time allows.

    Every iteration earns nine tenths of that share of its seconds, so that the running share stays
    below it, whatever the last samples cost. A sample is due when the account covers what one
    usually costs, and is paid from it. Nothing is saved up beyond one sample, so that samples come
    evenly. What the monitors take in an iteration that is not sampled (microseconds, but a network
    may be as fast) comes out of the same share; a quarter of it is left for samples in any case.

    Two things are worth more than the budget; what they cost is counted, but not paid back:

    - The first three iterations are sampled.
    - An iteration in which something is known not to be finite, and the ten after it, are
      sampled. The loss that the engine returns is looked at in every iteration
      where it is a number or in main memory; that iteration's loss, predictions and weights are
      written too, its gradients only if it was sampled anyhow. What is on another device is
      known when the background writer has read it: a loss, gradient or weight that was not
      finite in a sampled iteration has the next ones sampled. Weights that are not finite stay
      so, and are seen at the next sample.

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
        self._aim = _AIM * share
        self.sample_seconds = 0.0
        self._account = 0.0
        self._samples = 0
        # What the monitors take in an iteration that is not sampled.
        self._idle_seconds = 0.0
        self._alarmed_until = 0

    @property
    def every(self) -> int:
        """Iterations between samples, as the costs are now."""
        earned = self._earned(self.iteration_seconds, self._idle_seconds)
        return max(1, round(self.sample_seconds / earned)) if earned > 0 else 1

    def due(self, iteration: int) -> bool:
        """Whether to measure in this iteration (the first is 1)."""
        seconds, cost = self.tick()
        if not self._sampling:
            self._idle_seconds += _SMOOTHING * (cost - self._idle_seconds)
            account = self._account + self._earned(seconds, cost)
        else:
            self._learn(cost)
            account = self._account + self._aim * seconds
            if self._samples > _FIRST and iteration - 1 > self._alarmed_until:
                account -= cost
        usual = self.sample_seconds
        self._account = account if account < usual else usual
        self._sampling = (
            account >= usual * _NEARLY or self._samples < _FIRST or iteration <= self._alarmed_until
        )
        if self._sampling:
            self._samples += 1
        return self._sampling

    def _earned(self, seconds: float, cost: float) -> float:
        """What an iteration that was not sampled leaves of its share: a quarter of it at least."""
        share = self._aim * seconds
        return max(share - cost, share * _AT_LEAST)

    def spend(self, seconds: float) -> None:
        """Take note of what measuring cost, in seconds of host time."""
        self._within += seconds

    def alarm(self, iteration: int) -> None:
        """Sample this iteration and those after it: something was not finite. From any thread."""
        self._alarmed_until = max(self._alarmed_until, iteration + _ALARMED)

    def _learn(self, cost: float) -> None:
        """What a sample usually costs, now that another one is known."""
        if self._samples == 1:
            self.sample_seconds = cost
        elif self._samples <= _FIRST:
            self.sample_seconds = min(cost, self.sample_seconds)
        else:
            self.sample_seconds += _SMOOTHING * (cost - self.sample_seconds)


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

    def end(self, engine: Engine) -> None:
        """Write the cost so far."""
        scalars = {"monitor/overhead_fraction": self._metered.overhead_fraction}
        if self._metered.every is not None:
            scalars["monitor/every"] = float(self._metered.every)
        if self._metered.training > 0:
            self.writer.write_scalars(engine.state.iteration, scalars)

    def cancel(self) -> None:
        """Nothing to take away."""
