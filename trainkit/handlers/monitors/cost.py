"""What the monitoring itself costs."""

from collections.abc import Callable, Mapping
from typing import Any

from ignite.engine import Engine

from trainkit.handlers.monitor import Monitor
from trainkit.handlers.sampling.metered import Metered
from trainkit.handlers.sampling.moment import Moment
from trainkit.handlers.sampling.sampler import Sampler
from trainkit.writers.protocol import Sink, Writer

__all__ = ["CostMonitor"]


class CostMonitor(Monitor):
    """Writes what the monitoring itself costs.

    Tags: `monitor/overhead_fraction`, the share of the training time; `monitor/every`, iterations
    between samples, where that is one number.

    Args:
        writer: Where the numbers go.
        every: A `Metered` cadence (a `Budget` is one), or the `Sampler` of the monitors with one.

    Raises:
        TypeError: The cadence does not measure its cost.

    Cost:
        Nothing but the writing of two numbers, in a sampled iteration.

    Example:
        >>> from ignite.engine import Engine
        >>> from trainkit import CostMonitor, Every, MemoryWriter, Metered, Sampler
        >>> writer, sampler = MemoryWriter(), Sampler(Metered(Every(5)))
        >>> trainer = Engine(lambda engine, batch: 0.5)
        >>> handle = CostMonitor(writer, sampler).attach(trainer)
        >>> state = trainer.run(range(20))
        >>> sorted(writer.scalars)
        ['monitor/every', 'monitor/overhead_fraction']
    """

    def __init__(self, writer: Writer | Sink, every: Metered | Sampler) -> None:
        super().__init__(writer, every)
        cadence = self.sampler.cadence
        if not isinstance(cadence, Metered):
            raise TypeError(
                "CostMonitor needs a sampler with a Metered cadence, got "
                f"{type(cadence).__name__}; pass every=Metered(Every(n))"
            )
        self._metered = cadence

    def moments(self) -> Mapping[Moment, Callable[..., Any]]:
        """At the end of the iteration."""
        return {Moment.ITERATION_COMPLETED: self.end}

    def end(self, engine: Engine) -> None:
        """Write the cost so far."""
        scalars = {"monitor/overhead_fraction": self._metered.overhead_fraction}
        if self._metered.every is not None:
            scalars["monitor/every"] = float(self._metered.every)
        if self._metered.training > 0:
            self.writer.write_scalars(engine.state.iteration, scalars)
