"""One pair of event handlers for all monitors that measure in the same iterations."""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from time import perf_counter
from typing import Any

from ignite.engine import Engine, Events, RemovableEventHandle

from trainkit.handlers.output.as_step_output import StepOutput
from trainkit.handlers.sampling.alarm import Alarm
from trainkit.handlers.sampling.around import Around
from trainkit.handlers.sampling.cadence import When, as_cadence
from trainkit.handlers.sampling.dispatch import Dispatch
from trainkit.handlers.sampling.guard import Guard
from trainkit.handlers.sampling.moment import AT_STEPS, Moment
from trainkit.handlers.sampling.optimizer_steps import OptimizerSteps
from trainkit.handlers.sampling.run_length import last_iteration
from trainkit.handlers.sampling.stopwatch import Stopwatch
from trainkit.handlers.sampling.subscriber import Measures, Subscriber

__all__ = ["Sampler", "as_sampler"]

_log = logging.getLogger("trainkit")


class Sampler:
    """Decides in which iterations the monitors of one engine measure, and calls them.

    Monitors that share a sampler measure in the same iterations and share one pair of Ignite
    handlers. So an iteration that is not sampled costs two short calls, however many monitors
    there are. A cadence with an `alarm` (a `Budget`) is told what was not finite, and monitors are
    called in an iteration whose loss is not finite (`Moment.NON_FINITE_LOSS`).

    Args:
        every: How often, in iterations; or a function of the engine and the iteration, an event of
            Ignite's with a filter (`Events.ITERATION_COMPLETED(every=4)`), or a cadence.
        clock: Seconds, for what monitoring costs.

    Raises:
        TypeError, ValueError: `every` is none of these.

    Example:
        >>> from ignite.engine import Engine
        >>> from trainkit import LossMonitor, MemoryMonitor, MemoryWriter, Sampler
        >>> writer, sampler = MemoryWriter(), Sampler(every=10)
        >>> trainer = Engine(lambda engine, batch: 0.5)
        >>> handles = [
        ...     LossMonitor(writer, sampler).attach(trainer),
        ...     MemoryMonitor(writer, sampler).attach(trainer),
        ... ]
        >>> state = trainer.run(range(20))
        >>> writer.scalars["loss/total"]
        [(1, 0.5), (10, 0.5), (20, 0.5)]
    """

    def __init__(self, every: When = 1, *, clock: Callable[[], float] = perf_counter) -> None:
        self.cadence = as_cadence(every)
        self._due, self._spend = self.cadence.due, self.cadence.spend
        self._spend_beside: Callable[[float], None] | None = getattr(
            self.cadence, "spend_beside", None
        )
        self._pause: Callable[[float], None] | None = getattr(self.cadence, "pause", None)
        self._plan: Callable[[int, int | None], None] | None = getattr(self.cadence, "plan", None)
        self._watch = Stopwatch(clock)
        self._alarm = Alarm(self.cadence)
        self._calls = Dispatch()
        self._steps = OptimizerSteps(self._watch)
        self._around = Around(self._enter, self._leave)
        #: What monitors may ask at an optimizer's step.
        self.step_state = self._steps.state
        #: What monitors have read of this iteration's output, by the id of `output_transform`.
        self.outputs: dict[int, StepOutput] = {}
        #: What disabled a monitor, by its class.
        self.failures: dict[str, BaseException] = {}
        self._engine: Engine | None = None
        self._handles: list[RemovableEventHandle] = []
        # When the last iteration was complete; None while one is running, or was left.
        self._completed: float | None = None
        # The last iteration that was seen.
        self._latest = 0
        self._told_of_going_back = self._failed = False
        self._is_due = False
        # Some optimizer's step is still to come, perhaps in an iteration that is not sampled.
        self._waiting = False
        # Between the start and the end of an iteration that is sampled or waits.
        self._within = False

    @property
    def is_due(self) -> bool:
        """Whether the current iteration is sampled."""
        return self._is_due

    def __contains__(self, monitor: object) -> bool:
        """Whether the monitor is attached."""
        return monitor in self._calls

    def state_dict(self) -> dict[str, Any]:
        """The sample that still waits for an optimizer's step, at the end of an accumulation."""
        return self._steps.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Wait for that step, with the monitors that are attached now."""
        self._steps.load_state_dict(state_dict)
        self._waiting = self._steps.pending

    def subscribe(
        self,
        engine: Engine,
        monitor: Measures,
        moments: Mapping[Moment, Callable[..., Any]],
    ) -> Guard:
        """Call `monitor` at these moments in the sampled iterations of `engine` from now on.

        Raises:
            ValueError: The sampler serves another engine.
        """
        if self._engine is not None and self._engine is not engine:
            raise ValueError("a Sampler serves one engine; give the other engine its own Sampler")
        if self._engine is None:
            self._serve(engine)
        guard = Guard(
            type(monitor).__name__, lambda: self._disable(subscriber), self._spend, self._watch
        )
        subscriber = Subscriber(
            moments, guard, monitor.optimizers, monitor.waits_through_skips, monitor.remove_handles
        )
        self._calls.add(monitor, subscriber)
        if not AT_STEPS.isdisjoint(moments):
            self._steps.join(subscriber)
        self._alarm.listen(monitor.writer.writer)
        return guard

    def unsubscribe(self, monitor: Measures) -> None:
        """Forget `monitor`; with the last one the event handlers go too."""
        subscriber = self._calls.pop(monitor)
        if subscriber is None:
            return
        if self._engine is not None and subscriber.guard.failure is None:
            subscriber.call(Moment.RUN_COMPLETED, self._engine)
        self._steps.drop(subscriber)
        if not self._calls:
            self._steps.rest()
            if self._engine is not None:
                self._around.take_away(self._engine)
            for handle in self._handles:
                handle.remove()
            self._handles, self._engine, self._completed = [], None, None
            self._alarm.stop()

    def _serve(self, engine: Engine) -> None:
        self._engine = engine
        # A cadence may hold another one, whose cost it measures.
        for cadence in (self.cadence, getattr(self.cadence, "cadence", None)):
            if (serve := getattr(cadence, "serve", None)) is not None:
                serve(engine)
        self._handles = [
            engine.add_event_handler(Events.ITERATION_STARTED, self._start),
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._complete),
            engine.add_event_handler(Events.COMPLETED, self._complete_run),
        ]
        if self._pause is not None or self._plan is not None:
            handle = engine.add_event_handler(Events.EPOCH_STARTED, self._start_epoch)
            self._handles.append(handle)

    # Hot path (every iteration): few operations, the usual case first. Its time is counted too:
    # for a small network it is not negligible.
    def _start(self, engine: Engine) -> None:
        watch = self._watch
        start = watch.now()
        try:
            self._completed = None
            if self._within:  # somebody else's handler raised when the iteration was complete
                self._forget()
            iteration = engine.state.iteration
            if iteration <= self._latest:
                self._go_back(iteration)
            self._latest = iteration
            self._is_due = self._due(iteration)
            calls = self._calls
            if self._is_due or self._waiting or calls.every_started or calls.every_left:
                self._around.put(engine)
            if self._steps.open:  # a step came in an event handler, or still may
                self._waiting = self._steps.pending
                if not self._waiting:
                    self._steps.rest()
        except Exception as error:
            self._fail(error)
        watch.seconds += watch.now() - start

    def _enter(self, engine: Engine) -> None:
        """Just before the process function."""
        watch = self._watch
        start = watch.now()
        try:
            for function, guard in self._calls.every_started:
                try:
                    function(engine)
                except Exception as error:
                    guard.fail(error)
            if self._is_due or self._waiting:
                self._within = True
                self._steps.enter(engine, self._is_due)
                if self._is_due:
                    for function, guard in self._calls.started:
                        try:
                            function(engine)
                        except Exception as error:
                            guard.fail(error)
        except Exception as error:
            self._fail(error)
        watch.seconds += watch.now() - start

    def _leave(self, engine: Engine, returned: bool) -> None:
        """Just after the process function, also where it raised: no hook stays."""
        try:
            if self._within:
                watch = self._watch
                start = watch.now()
                self._release(returned)
                watch.seconds += watch.now() - start
            # Not timed: reading the clock would take as long.
            for function, guard in self._calls.every_left:
                try:
                    function(engine, returned)
                except Exception as error:
                    guard.fail(error)
        except Exception as error:
            self._fail(error)

    def _release(self, returned: bool) -> None:
        self._steps.leave(returned)
        if self._is_due:
            for function, guard in self._calls.left:
                try:
                    function()
                except Exception as error:
                    guard.fail(error)
        if not returned:
            self._forget()

    def _complete(self, engine: Engine) -> None:
        watch = self._watch
        start = watch.now()
        try:
            calls, loss = self._calls, None
            for function, guard in calls.every_completed:
                try:
                    read = function(engine)
                except Exception as error:
                    guard.fail(error)
                else:
                    if read is not None:
                        loss = read
            if self._alarm.looks and self._alarm.sees(engine, loss) and not self._is_due:
                self._measure_non_finite(engine)
            now = watch.now()
            if calls.every_completed and self._spend_beside is not None:
                self._spend_beside(now - start)  # no allowance for what no sample sees
            else:
                watch.seconds += now - start
            if self._within:
                self._within = False
                started = watch.start()
                self._finish(engine)
                watch.seconds += watch.stop(started)
                now = watch.now()
            self._completed = now
            self._spend(watch.take())
        except Exception as error:
            self._fail(error)

    def _start_epoch(self, engine: Engine) -> None:
        try:
            if self._pause is not None and self._completed is not None:
                self._pause(self._watch.now() - self._completed)
            if self._plan is not None:
                self._plan(engine.state.iteration, last_iteration(engine))
        except Exception as error:
            self._fail(error)

    def _complete_run(self, engine: Engine) -> None:
        try:
            self._around.take_away(engine)
            self._steps.finish()
            for function, guard in self._calls.run_completed:
                guard(function, engine)
        except Exception as error:
            self._fail(error)

    def _finish(self, engine: Engine) -> None:
        """An iteration is complete that was sampled, or in which a step was waited for."""
        self._steps.end()
        if self._is_due:
            for function, guard in self._calls.completed:
                try:
                    function(engine)
                except Exception as error:
                    guard.fail(error)
            self.outputs.clear()
        self._waiting = self._steps.pending
        self._alarm.spend_threads()
        if self._spend_beside is not None and self._watch.device is not None:
            self._spend_beside(self._watch.device.beyond())

    def _measure_non_finite(self, engine: Engine) -> None:
        """Measure what can still be measured of an iteration that was not to be sampled."""
        for function, guard in self._calls.non_finite:
            guard(function, engine)
        self.outputs.clear()

    def _forget(self) -> None:
        """The iteration was left: forget what was begun."""
        self._within = self._waiting = False
        self.outputs.clear()
        self._steps.cancel()
        for subscriber in self._calls:
            subscriber.call(Moment.CANCELLED)

    def _go_back(self, iteration: int) -> None:
        """The iterations start again, or continue from an earlier one."""
        if self._told_of_going_back:
            return
        self._told_of_going_back = True
        _log.warning(
            "iteration %d comes again: it was run and monitored up to %d before. Both are written, "
            "and TensorBoard draws them as one line that goes back. For a second run (a fold, or "
            "the training after a search for the learning rate) remove() these monitors and attach "
            "new ones, with a writer of its own",
            iteration, self._latest,
        )  # fmt: skip

    def _fail(self, error: Exception) -> None:
        """A fault that is no monitor's own (of the cadence, say) disables them all, once."""
        if self._failed:
            return
        self._failed = True
        _log.error(
            "deciding when to sample failed; monitoring ends and training goes on: %s: %s",
            type(error).__name__, error, exc_info=error,
        )  # fmt: skip
        self._due, self._is_due, self._within, self._waiting = _never, False, False, False
        self._alarm.looks = False
        with suppress(Exception):
            self._steps.leave(False)
        for subscriber in self._calls:
            guard = subscriber.guard
            if guard.failure is None:
                guard.failure = error
                self.failures.setdefault(guard.name, error)
            self._calls.silence(subscriber)
            for moment in (Moment.PROCESS_LEFT, Moment.CANCELLED):
                with suppress(Exception):
                    subscriber.moments.get(moment, _nothing)()
            subscriber.remove_handles()

    def _disable(self, subscriber: Subscriber) -> None:
        """Its guard has caught a fault."""
        guard = subscriber.guard
        if guard.failure is not None:
            self.failures.setdefault(guard.name, guard.failure)
        self._calls.silence(subscriber)
        self._steps.drop(subscriber)
        subscriber.remove_handles()
        subscriber.moments.get(Moment.CANCELLED, _nothing)()


def _never(iteration: int) -> bool:
    return False


def _nothing() -> None:
    return


def as_sampler(every: "When | Sampler") -> Sampler:
    """The sampler itself, or a new one that samples `every` so often."""
    return every if isinstance(every, Sampler) else Sampler(every)
