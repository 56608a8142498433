"""Sample as often as a budget of the training time allows."""

from collections.abc import Callable
from time import perf_counter

from trainkit.handlers.sampling.metered import SMOOTHING, UNSEEN, Metered

__all__ = ["Budget"]

_AIM = 0.9  # of the budget is spent: it is a limit, and what a sample costs varies
_AT_LEAST = 0.25  # of the budget is for samples, even where looking when to sample uses it up
_FIRST = 3  # iterations that are sampled whatever they cost
_AT_LEAST_SAMPLES = 50  # in a run, whatever they cost
_DEAR = 4.0  # so many times the usual price of a sample is taken for an exception
_NEVER = 1 << 40
_ALARMED = 10  # iterations that are sampled after one in which something was not finite


class Budget(Metered):
    """Samples evenly, as often as a share of the training time allows, and fifty times at least.

    Samples are spaced by what one usually costs and by what is left of the share for the rest of
    the run: nine tenths of it, so that the running share stays below it. What the monitors take in
    an iteration that is not sampled (microseconds, but a network may be as fast) comes out of the
    same share; a quarter of it is left for samples in any case.

    Three things are worth more than the budget:

    - A run of known length is sampled at least fifty times (in every iteration where it has
      fewer), spread over the whole of it, and in its last iteration. Where fifty samples cost more
      than the budget, that is what they cost; `beyond` counts those that the budget did not allow.
      Where the length is not known, the first fifty iterations are sampled, and later gaps are at
      most a quarter of what has passed.
    - The first three iterations are sampled. They are not paid back.
    - An iteration in which something is known not to be finite, and the ten after it, are
      sampled, and not paid back. The loss that the engine returns is looked at in every iteration
      where it is a number or in main memory; that iteration's loss, predictions and weights are
      written too, its gradients only if it was sampled anyhow. What is on another device is
      known when the background writer has read it: a loss, gradient or weight that was not
      finite in a sampled iteration has the next ones sampled. Weights that are not finite stay
      so, and are seen at the next sample.

    Args:
        share: Of the training time, in (0, 1].
        clock: As in `Metered`.
        unseen: As in `Metered`.

    Raises:
        ValueError: `share` is not in (0, 1].

    Example:
        >>> import torch
        >>> from ignite.engine import Engine
        >>> from trainkit import Budget, MemoryWriter, attach_monitors
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> trainer = Engine(lambda engine, batch: 0.5)
        >>> budget = Budget(0.02)
        >>> with attach_monitors(
        ...     trainer, model=model, optimizers=optimizer, writer=MemoryWriter(), every=budget
        ... ):
        ...     state = trainer.run(range(10), max_epochs=2)
        >>> budget.samples  # fewer than fifty iterations: each one is sampled
        20
    """

    _counted = (
        *Metered._counted, "beyond", "sample_seconds", "alarmed_until", "_balance",
        "_idle_seconds", "_end", "_begin", "_latest", "_next", "_every",
    )  # fmt: skip

    def __init__(
        self,
        share: float,
        *,
        clock: Callable[[], float] = perf_counter,
        unseen: tuple[float, float] = UNSEEN,
    ) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"the budget must be a share of the time in (0, 1], got {share}")
        super().__init__(self, clock=clock, unseen=unseen)
        self.share = share
        self.beyond = 0
        self._aim = _AIM * share
        self.sample_seconds = 0.0
        # What was earned and not spent: below 0, a debt.
        self._balance = 0.0
        # What the monitors take in an iteration that is not sampled.
        self._idle_seconds = 0.0
        #: The last iteration that is sampled because something was not finite; 0: none.
        self.alarmed_until = 0
        # Iterations: the last one of the run, if that is known; the first one that was seen; the
        # last sample; the next one.
        self._end: int | None = None
        self._begin: int | None = None
        self._latest = self._next = 0
        self._every = 1

    @property
    def every(self) -> int:
        """Iterations between samples, now."""
        return self._every

    def plan(self, iteration: int, last: int | None) -> None:
        """Take note of how long the run will be.

        Args:
            iteration: The last one that is over.
            last: The one with which the run will end; None: it is not known.
        """
        if last != self._end or iteration < self._latest:  # it goes on, or begins again
            self._end, self._begin = last, iteration
            self._next = 0

    def due(self, iteration: int) -> bool:
        """Whether to measure in this iteration (the first is 1)."""
        seconds, cost = self.tick()
        if not self._sampling:
            if cost:
                self._idle_seconds += SMOOTHING * (cost - self._idle_seconds)
            self._balance += self._earned(seconds, cost)
        else:
            self._learn(cost)
            free = self.samples <= _FIRST or iteration - 1 <= self.alarmed_until
            self._balance += self._aim * seconds - (0.0 if free else cost)
            self._next = 0
        if not self._next:
            self._set_next(iteration)
        self._sampling = (
            iteration >= self._next
            or iteration == self._end
            or self.samples < _FIRST
            or iteration <= self.alarmed_until
        )
        if self._sampling:
            self.samples += 1
            self._latest = iteration
        return self._sampling

    def spend(self, seconds: float) -> None:
        """Take note of what measuring cost, in seconds of host time."""
        self._within += seconds

    def spend_apart(self, seconds: float) -> None:
        """Take note of time that was taken for no iteration; it is paid out of the budget too."""
        self.spent += seconds
        self._balance -= seconds

    def alarm(self, iteration: int) -> None:
        """Sample this iteration and those after it: something was not finite. From any thread."""
        self.alarmed_until = max(self.alarmed_until, iteration + _ALARMED)

    def _set_next(self, iteration: int) -> None:
        """After a sample, or when it turns out how long the run is."""
        if self._begin is None:
            self._begin = iteration - 1
        if not self._latest or self._latest > iteration:
            self._next = iteration
            return
        allowed, most = self._allowed(iteration), self._most(iteration)
        self.beyond += allowed > most and self.samples >= _FIRST
        self._every = min(allowed, most)
        self._next = self._latest + self._every

    def _most(self, iteration: int) -> int:
        """Iterations between samples at most, whatever a sample costs."""
        begin = self._begin or 0
        if self._end is None:
            passed = iteration - begin
            return 1 if passed < _AT_LEAST_SAMPLES else max(1, passed // 4)
        return max(1, (self._end - begin) // _AT_LEAST_SAMPLES)

    def _allowed(self, iteration: int) -> int:
        """Iterations between samples that the budget pays for."""
        earned = self._earned(self.iteration_seconds, self._idle_seconds)
        price = self.sample_seconds
        if price <= 0:
            return 1
        if earned <= 0:
            return _NEVER
        if self._end is None:
            gap = (price - self._balance) / earned
        else:  # what is left is spread over what is left
            left = max(1, self._end - iteration + 1)
            pays_for = (self._balance + earned * left) / price
            gap = left / pays_for if pays_for > 0 else _NEVER
        # No credit is spent at once, and no debt paid back at once.
        usual = price / earned
        return max(1, round(min(max(gap, usual / 2), 2 * usual, _NEVER)))

    def _earned(self, seconds: float, cost: float) -> float:
        """What an iteration that was not sampled leaves of its share: a quarter of it at least."""
        share = self._aim * seconds
        return max(share - cost, share * _AT_LEAST)

    def _learn(self, cost: float) -> None:
        """What a sample usually costs, now that another one is known."""
        if self.samples == 1:
            self.sample_seconds = cost
        elif self.samples <= _FIRST:
            self.sample_seconds = min(cost, self.sample_seconds)
        else:  # one that is dear for once changes little
            cost = min(cost, _DEAR * self.sample_seconds) if self.sample_seconds else cost
            self.sample_seconds += SMOOTHING * (cost - self.sample_seconds)
