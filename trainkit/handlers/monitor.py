"""The base class of every monitor: it says at which moments it measures, and is called there."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from ignite.engine import Engine, Events, RemovableEventHandle
from torch.optim import Optimizer

from trainkit.handlers.evaluation.passes import Passes
from trainkit.handlers.parameters.held import check_hooks, one_or_several
from trainkit.handlers.sampling.cadence import When
from trainkit.handlers.sampling.guard import Guard
from trainkit.handlers.sampling.moment import Moment
from trainkit.handlers.sampling.sampler import Sampler, as_sampler
from trainkit.handlers.sampling.subscriber import checked_moments
from trainkit.writers.guarded import GuardedWriter
from trainkit.writers.protocol import Sink, Writer

__all__ = ["Monitor", "MonitorHandle"]

_log = logging.getLogger("trainkit")

_PASS: Sequence[tuple[Moment, Events]] = (
    (Moment.PASS_STARTED, Events.STARTED),
    (Moment.PASS_ITERATION, Events.ITERATION_COMPLETED),
    (Moment.PASS_COMPLETED, Events.COMPLETED),
)


class Monitor:
    """Measures at the moments that it names, and writes what it measured.

    A subclass has one method to write, `moments`: it maps each `Moment` to the function to call
    then. Every call is guarded: the first fault is reported, disables this monitor, and never
    reaches the training loop.

    On a trainer the moments are those of sampled iterations. Tensors, modules and optimizers have
    hooks while the process function runs, at no other time. Wrap hooks of your own with
    `self.guard.wrap`, and remove them at `Moment.PROCESS_LEFT`.

    On an evaluator (`trainer` is given) the moments are `PASS_STARTED`, `PASS_ITERATION` and
    `PASS_COMPLETED`, in every pass; write with `write_pass`.

    Args:
        writer: Where the statistics go.
        every: How often: a number of iterations, a function of the engine and the iteration, an
            event of Ignite's with a filter; or a `Sampler` shared with other monitors.
        optimizers: Whose steps are observed: one, or a mapping from key to optimizer. The hooks
            are shared with all monitors of the sampler. A sampled iteration arms them; the next
            step of each optimizer is observed, in whichever iteration it comes (with gradient
            accumulation in a later one).
        trainer: For a monitor of an evaluator: the step of what it writes is the iteration of
            this trainer.

    Raises:
        TypeError: An optimizer is no `Optimizer`, or cannot call hooks.

    Example:
        >>> from ignite.engine import Engine
        >>> from trainkit import MemoryWriter, Moment, Monitor
        >>> class BatchMonitor(Monitor):
        ...     def moments(self):
        ...         return {Moment.ITERATION_COMPLETED: self.measure}
        ...
        ...     def measure(self, engine):
        ...         size = float(len(engine.state.batch))
        ...         self.writer.write_scalars(engine.state.iteration, {"data/batch_size": size})
        >>> writer, trainer = MemoryWriter(), Engine(lambda engine, batch: None)
        >>> handle = BatchMonitor(writer).attach(trainer)
        >>> state = trainer.run([[1, 2], [3]])
        >>> writer.scalars
        {'data/batch_size': [(1, 2.0), (2, 1.0)]}
    """

    #: Catches what the monitor raises; there once it is attached.
    guard: Guard
    #: Tells apart the passes of the evaluator; its monitors may share one. Only with a `trainer`.
    passes: Passes
    #: Whether to wait for the next optimizer step after the loss scaler skipped one.
    waits_through_skips = False
    #: The engines for which `attach_monitors` makes one each: `trainer`; `evaluators`; the name of
    #: an evaluator. An evaluator called `train` writes where the trainer does, so its monitors are
    #: made only if `train` is named.
    engines: ClassVar[Sequence[str]] = ("trainer",)

    def __init__(
        self,
        writer: Writer | Sink,
        every: "When | Sampler" = 1,
        *,
        optimizers: Optimizer | Mapping[str, Optimizer] | None = None,
        trainer: Engine | None = None,
    ) -> None:
        #: Notes what this monitor writes, for reports.
        self.writer = GuardedWriter(writer)
        self.sampler = as_sampler(every)
        #: Iteration and loss scale at an optimizer's step.
        self.steps = self.sampler.step_state
        #: Observed optimizers, by key.
        self.optimizers: Mapping[str, Optimizer] = {}
        if optimizers is not None:
            self.optimizers = one_or_several("optimizers", optimizers, Optimizer)
            check_hooks(self.optimizers.values())
        self.trainer = trainer
        if trainer is not None:
            self.passes = Passes(trainer)
        self._moments: Mapping[Moment, Callable[..., Any]] = {}
        self._observes_passes = False
        self._handles: dict[str, RemovableEventHandle] = {}

    def moments(self) -> Mapping[Moment, Callable[..., Any]]:
        """The functions to call: moment → function. It is asked once, when it is attached.

        `Moment` says which arguments each moment has.
        """
        name = type(self).__name__
        old = "end" if hasattr(self, "end") else "measure"
        raise TypeError(
            f"{name} must say when it measures: def moments(self): "
            f"return {{Moment.ITERATION_COMPLETED: self.{old}}}"
        )

    def attach(self, engine: Engine) -> RemovableEventHandle:
        """Measure on `engine` from now on.

        Returns:
            Ignite's handle; after its `remove()` no hook is left anywhere.

        Raises:
            TypeError: `moments` does not return a mapping from moment to function.
            ValueError: The monitor is attached already.
        """
        name = type(self).__name__
        if self._observes_passes or self in self.sampler:
            raise ValueError(f"{name} is attached already; remove() it first")
        moments = self._moments = checked_moments(name, self.moments())
        if self.trainer is None or self.trainer is engine:
            self.guard = self.sampler.subscribe(engine, self, moments)
            return MonitorHandle(engine, self)
        self.guard = Guard(name, self._stop_passes)
        self._observes_passes = True
        self.passes.join(engine)
        for moment, event in _PASS:
            if moment in moments:
                self.listen(engine, event, moments[moment], moment.value)
        return MonitorHandle(engine, self)

    def detach(self) -> None:
        """Measure no more; every hook and event handler is removed. Harmless when detached."""
        self.sampler.unsubscribe(self)
        for moment in (Moment.PROCESS_LEFT, Moment.CANCELLED):
            try:
                self._moments.get(moment, _nothing)()
            except Exception:  # often called at the end of a training, which is worth more
                _log.exception("%s could not take all of its hooks away", type(self).__name__)
        self.remove_handles()

    def listen(
        self, engine: Engine, event: Any, function: Callable[[Engine], None], name: str
    ) -> None:
        """Add an event handler, guarded and timed, that goes with the monitor.

        Args:
            engine: Any engine.
            event: Of Ignite's.
            function: Called with the engine.
            name: An earlier handler of this name is removed.
        """
        handle = engine.add_event_handler(event, self.guard.wrap(function))
        self.keep(handle, name)

    def keep(self, handle: RemovableEventHandle, name: str) -> None:
        """Remove this handle with the monitor, and an earlier one of this name now."""
        self.drop(name)
        self._handles[name] = handle

    def drop(self, name: str) -> None:
        """Remove the event handler of this name, if there is one."""
        handle = self._handles.pop(name, None)
        if handle is not None:
            handle.remove()

    def remove_handles(self) -> None:
        """Remove the event handlers of `listen` and `keep`; harmless at any time."""
        for name in [*self._handles]:
            self.drop(name)
        if self._observes_passes:
            self._observes_passes = False
            self.passes.leave()

    def write_pass(
        self,
        engine: Engine,
        write: Callable[[], None],
        as_training: Callable[[], None] | None = None,
    ) -> None:
        """Write a pass of an evaluator where it belongs, now or later: see `Passes`.

        Args:
            engine: The evaluator.
            write: Writes it as one of this evaluator.
            as_training: Writes it as one over the training data; None where its tags are the
                trainer's own.
        """
        other = None if as_training is None else partial(self.guard, as_training)
        self.passes.complete(engine, self.writer, partial(self.guard, write), other)

    def _stop_passes(self) -> None:
        self.remove_handles()
        self._moments.get(Moment.CANCELLED, _nothing)()


class MonitorHandle(RemovableEventHandle):
    """Takes a monitor off its engine; usable as a context manager, like Ignite's own handles."""

    def __init__(self, engine: Engine, monitor: Monitor) -> None:
        super().__init__(Events.ITERATION_COMPLETED, monitor.attach, engine)
        self._monitor = monitor

    def remove(self) -> None:
        """Detach the monitor; harmless when it is detached already."""
        self._monitor.detach()


def _nothing() -> None:
    return
