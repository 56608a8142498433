"""What every monitor of a training engine is: something that measures in sampled iterations."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from ignite.engine import Engine, Events, RemovableEventHandle

from trainkit.handlers.sampling.cadence import When
from trainkit.handlers.sampling.guard import Guard
from trainkit.handlers.sampling.sampler import Sampler, as_sampler
from trainkit.writers.guarded import GuardedWriter
from trainkit.writers.protocol import Sink, Writer

__all__ = ["Monitor", "MonitorHandle"]

_log = logging.getLogger("trainkit")


class Monitor(ABC):
    """Measures in the sampled iterations of one engine, and writes what it measured.

    An iteration that is sampled is `begin`, the engine's process function, `release`, `end`.
    Hooks on tensors, modules and optimizers exist between `begin` and `release` only: in the
    handlers of other people there is none, whatever became of the iteration. Every call is
    guarded: a fault is reported once, disables this monitor and never reaches the training loop.
    Hooks that torch calls must be wrapped with `self.guard.wrap`.

    Monitors of the optimizer's step are `StepObserver`s: their hooks are shared.

    Args:
        writer: Where the statistics go.
        every: How often: a number of iterations, a function of the engine and the iteration, an
            event of Ignite's with a filter; or a `Sampler` shared with other monitors.

    Example:
        >>> from ignite.engine import Engine
        >>> from trainkit import MemoryWriter, Monitor
        >>> class BatchMonitor(Monitor):
        ...     def end(self, engine):
        ...         size = float(len(engine.state.batch))
        ...         self.writer.write_scalars(engine.state.iteration, {"data/batch_size": size})
        ...
        ...     def cancel(self):
        ...         pass
        >>> writer, trainer = MemoryWriter(), Engine(lambda engine, batch: None)
        >>> handle = BatchMonitor(writer).attach(trainer)
        >>> state = trainer.run([[1, 2], [3]])
        >>> writer.scalars
        {'data/batch_size': [(1, 2.0), (2, 1.0)]}
    """

    guard: Guard
    #: Whether `end` alone, without `begin`, measures the iteration: where its loss is seen not to
    #: be finite, it is called in an iteration that was not to be sampled.
    late = False
    #: The engines for which `attach_monitors` makes one each: `trainer`; `evaluators`; the name of
    #: an evaluator. One that is called `train` writes where the trainer does: what is for the
    #: trainer too is made for it only if `train` is named.
    engines: ClassVar[Sequence[str]] = ("trainer",)

    def __init__(self, writer: Writer | Sink, every: "When | Sampler" = 1) -> None:
        #: Notes what this monitor writes, for reports.
        self.writer = GuardedWriter(writer)
        self.sampler = as_sampler(every)

    def attach(self, engine: Engine) -> RemovableEventHandle:
        """Measure in the sampled iterations of `engine` from now on.

        Returns:
            Ignite's handle; after its `remove()` no hook is left anywhere.

        Raises:
            ValueError: The monitor is attached already.
        """
        self.guard = self.sampler.subscribe(engine, self)
        return MonitorHandle(engine, self)

    def does(self, name: str) -> bool:
        """Whether it has a method of its own of this name: those of `Monitor` do nothing."""
        return getattr(type(self), name) is not getattr(Monitor, name)

    def begin(self, engine: Engine) -> None:
        """Prepare, just before the process function of a sampled iteration."""
        return

    def release(self) -> None:
        """Take every hook away, just after the process function; also when that raised."""
        return

    def end(self, engine: Engine) -> None:
        """Measure what is left to measure and write, when the sampled iteration is completed."""
        return

    def enter(self, engine: Engine) -> None:
        """Look, just before the process function of every iteration: a microsecond, no more."""
        return

    def leave(self, engine: Engine, returned: bool) -> None:
        """Look, just after the process function of every iteration; also when that raised."""
        return

    def look(self, engine: Engine) -> float | None:
        """Look, when every iteration is completed: a few microseconds, no more.

        Returns:
            The loss of the iteration, where it was read for it; nobody else need read it then.
        """
        return None

    def finish(self, engine: Engine) -> None:
        """Write what is left to write, when the run is completed."""
        return

    @abstractmethod
    def cancel(self) -> None:
        """Take every hook away and forget what was begun; harmless at any time."""


class MonitorHandle(RemovableEventHandle):
    """Takes a monitor off its engine again; usable as a context manager, like Ignite's own."""

    def __init__(self, engine: Engine, monitor: Monitor) -> None:
        super().__init__(Events.ITERATION_COMPLETED, monitor.end, engine)
        self._monitor = monitor

    def remove(self) -> None:
        """Detach the monitor; harmless when it is detached already."""
        monitor = self._monitor
        monitor.sampler.unsubscribe(monitor)
        for take_away in (monitor.release, monitor.cancel):
            try:
                take_away()
            except Exception:  # often called at the end of a training, which is worth more
                _log.exception("%s could not take all of its hooks away", type(monitor).__name__)
