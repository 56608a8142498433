"""One pair of event handlers for all monitors that measure in the same iterations."""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from math import inf
from time import perf_counter
from typing import TYPE_CHECKING
from weakref import WeakMethod

from ignite.engine import Engine, Events, RemovableEventHandle

from trainkit.handlers.output.as_step_output import StepOutput
from trainkit.handlers.sampling.around import Around
from trainkit.handlers.sampling.cadence import When, as_cadence
from trainkit.handlers.sampling.guard import Guard
from trainkit.handlers.sampling.optimizer_steps import Steps
from trainkit.handlers.sampling.run_length import last_iteration
from trainkit.handlers.sampling.visible_loss import SECTIONS, loss_in_sight
from trainkit.writers.protocol import Reporting
from trainkit.writers.sinks.alarm import AlarmSink

if TYPE_CHECKING:
    from trainkit.handlers.monitor import Monitor

__all__ = ["Sampler", "as_sampler"]

_log = logging.getLogger("trainkit")


class Sampler:
    """Decides when the monitors of one engine measure, and calls them.

    Monitors that share a sampler measure in the same iterations and cost one pair of Ignite
    handlers together, so an iteration that is not sampled costs two short calls, however many
    monitors there are. A cadence that has an `alarm` (a `Budget`) is told what was not finite, and
    gets what can still be measured of an iteration that turned out so: its loss, predictions and
    weights.

    Args:
        every: How often, in iterations; or a function of the engine and the iteration, an event of
            Ignite's with a filter (`Events.ITERATION_COMPLETED(every=4)`), or a cadence.

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

    def __init__(self, every: When = 1) -> None:
        self.cadence = as_cadence(every)
        self._due, self._spend = self.cadence.due, self.cadence.spend
        self._alarm: Callable[[int], None] | None = getattr(self.cadence, "alarm", None)
        # Whether the loss of every iteration is looked at.
        self._looking = self._alarm is not None
        self._spend_beside: Callable[[float], None] | None = getattr(
            self.cadence, "spend_beside", None
        )
        self._pause: Callable[[float], None] | None = getattr(self.cadence, "pause", None)
        self._plan: Callable[[int, int | None], None] | None = getattr(self.cadence, "plan", None)
        # When the last iteration was over; None while one is going on, or was left.
        self._completed: float | None = None
        # The thread must not keep alive what it serves.
        hear = WeakMethod(self._hear)
        self._alarm_sink = AlarmSink(lambda step, tags: (found := hear()) and found(step, tags))
        # Writers with a thread of their own, and what it had taken when it was last asked.
        self._threads: dict[Reporting, float] = {}
        self._engine: Engine | None = None
        self._handles: list[RemovableEventHandle] = []
        self._monitors: dict[Monitor, Guard] = {}
        # Those of them that do anything when a sampled iteration begins, and when it ends.
        self._begins: list[tuple[Monitor, Guard]] = []
        self._ends: list[tuple[Monitor, Guard]] = []
        # Those that have hooks to take away, and those that look at every iteration.
        self._releases: list[tuple[Monitor, Guard]] = []
        self._each: list[tuple[Monitor, Guard]] = []
        self._looks: list[tuple[Monitor, Guard]] = []
        # What the monitors of one iteration have read of the step's output, by the transform's id.
        self.outputs: dict[int, StepOutput] = {}
        self.steps = Steps()
        self._around = Around(self._enter, self._leave)
        # Of host time that this iteration took so far.
        self._seconds = 0.0
        # The last iteration that was seen.
        self._latest = 0
        self._told_of_going_back = self._failed = False
        self._is_due = False
        # The step of some optimizer is still to come, perhaps in an iteration that is not sampled.
        self._waiting = False
        self._within = False
        self.failures: dict[str, BaseException] = {}

    @property
    def is_due(self) -> bool:
        """Whether the iteration that is going on is sampled."""
        return self._is_due

    def subscribe(self, engine: Engine, monitor: "Monitor") -> Guard:
        """Call `monitor` in the sampled iterations of `engine` from now on.

        Args:
            engine: Whose iterations they are.
            monitor: Of its methods those are called that do anything.

        Raises:
            ValueError: The monitor is attached already, or the sampler serves another engine.
        """
        if monitor in self._monitors:
            raise ValueError(f"{type(monitor).__name__} is attached already; remove() it first")
        if self._engine is not None and self._engine is not engine:
            raise ValueError("a Sampler serves one engine; give the other engine its own Sampler")
        if self._engine is None:
            self._engine = engine
            # A cadence may hold another one, which counts what it costs.
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
        disable = partial(self._disable, monitor)
        clock = partial(getattr, self.steps, "clock")
        guard = Guard(type(monitor).__name__, disable, self._spend, clock)
        self._monitors[monitor] = guard
        pair = monitor, guard
        for called, names in (
            (self._begins, ("begin",)),
            (self._ends, ("end",)),
            (self._releases, ("release",)),
            (self._each, ("enter", "leave", "finish")),
            (self._looks, ("look",)),
        ):
            if any(map(monitor.does, names)):
                called.append(pair)
        writer = monitor.writer.writer
        if isinstance(writer, Reporting) and writer not in self._threads:
            self._threads[writer] = writer.thread_seconds
            if self._alarm is not None:
                writer.add_sink(self._alarm_sink)
        return guard

    def unsubscribe(self, monitor: "Monitor") -> None:
        """Forget `monitor`; with the last one the event handlers go too."""
        guard = self._monitors.pop(monitor, None)
        if guard is None:
            return
        if self._engine is not None and monitor.does("finish"):
            guard(monitor.finish, self._engine)
        self._call_no_more(monitor)
        if not self._monitors:
            self.steps.rest()
            if self._engine is not None:
                self._around.take_away(self._engine)
            for handle in self._handles:
                handle.remove()
            self._handles, self._engine, self._completed = [], None, None
            for writer in self._threads:
                writer.remove_sink(self._alarm_sink)
            self._threads = {}

    # These are called in every iteration: so few operations, and the usual case first. What they
    # take is counted in every iteration too: for a small network it is not nothing.
    def _start(self, engine: Engine) -> None:
        start = perf_counter()
        try:
            self._completed = None
            if self._within:  # a handler of somebody else raised when the iteration was over
                self._forget()
            iteration = engine.state.iteration
            if iteration <= self._latest:
                self._go_back(iteration)
            self._latest = iteration
            self._is_due = self._due(iteration)
            if self._is_due or self._waiting or self._each:
                self._around.put(engine)
            if self.steps.open:  # a step came in a handler, or still may
                self._waiting = self.steps.pending
                if not self._waiting:
                    self.steps.rest()
        except Exception as error:
            self._fail(error)
        self._seconds += perf_counter() - start

    def _enter(self, engine: Engine) -> None:
        """Just before the process function."""
        start = perf_counter()
        try:
            for monitor, guard in self._each:
                try:
                    monitor.enter(engine)
                except Exception as error:
                    guard.fail(error)
            if self._is_due or self._waiting:
                self._within = True
                self.steps.enter(engine, self._is_due)
                if self._is_due:
                    for monitor, guard in self._begins:
                        try:
                            monitor.begin(engine)
                        except Exception as error:
                            guard.fail(error)
        except Exception as error:
            self._fail(error)
        self._seconds += perf_counter() - start

    def _leave(self, engine: Engine, returned: bool) -> None:
        """Just after the process function, also where it raised: no hook stays."""
        try:
            if self._within:
                start = perf_counter()
                self._release(returned)
                self._seconds += perf_counter() - start
            # Not timed: a clock would take as long.
            for monitor, guard in self._each:
                try:
                    monitor.leave(engine, returned)
                except Exception as error:
                    guard.fail(error)
        except Exception as error:
            self._fail(error)

    def _release(self, returned: bool) -> None:
        self.steps.leave(returned)
        if self._is_due:
            for monitor, guard in self._releases:
                try:
                    monitor.release()
                except Exception as error:
                    guard.fail(error)
        if not returned:
            self._forget()

    def _complete(self, engine: Engine) -> None:
        start = perf_counter()
        try:
            loss = None
            for monitor, guard in self._looks:
                try:
                    read = monitor.look(engine)
                except Exception as error:
                    guard.fail(error)
                else:
                    if read is not None:
                        loss = read
            if self._looking:
                if loss is None:
                    loss = self._loss(engine)
                if loss is not None and not -inf < loss < inf:
                    self._see_bad_loss(engine)
            now = perf_counter()
            if self._looks and self._spend_beside is not None:  # no allowance for what is unseen
                self._spend_beside(now - start)
                start = now
            if self._within:
                self._within = False
                clock = self.steps.clock
                mark = None if clock is None else clock.start()
                self._finish(engine)
                now = perf_counter()
                if clock is not None:
                    clock.stop(mark, now - start)
            self._completed = now
            self._spend(self._seconds + self.steps.seconds + (now - start))
            self._seconds = self.steps.seconds = 0.0
        except Exception as error:
            self._fail(error)

    def _start_epoch(self, engine: Engine) -> None:
        try:
            if self._pause is not None and self._completed is not None:
                self._pause(perf_counter() - self._completed)
            if self._plan is not None:
                self._plan(engine.state.iteration, last_iteration(engine))
        except Exception as error:
            self._fail(error)

    def _complete_run(self, engine: Engine) -> None:
        try:
            self._around.take_away(engine)
            self.steps.finish()
            for monitor, guard in self._each:
                guard(monitor.finish, engine)
        except Exception as error:
            self._fail(error)

    def _loss(self, engine: Engine) -> float | None:
        """As far as it can be seen, where no monitor has read it."""
        try:
            return loss_in_sight(engine.state.output)
        except Exception:  # whatever the step returned, it is not worth a training run
            self._looking = False
            _log.exception("the loss cannot be looked at, and is not any more")
        return None

    def _finish(self, engine: Engine) -> None:
        """A sampled iteration is over, or one in which a step was waited for."""
        self.steps.end()
        if self._is_due:
            for monitor, guard in self._ends:
                try:
                    monitor.end(engine)
                except Exception as error:
                    guard.fail(error)
            self.outputs.clear()
        self._waiting = self.steps.pending
        if self._spend_beside is not None:
            for writer, before in self._threads.items():
                now = writer.thread_seconds
                if now != before:
                    self._threads[writer] = now
                    self._spend_beside(now - before)
            if self.steps.clock is not None:
                self._spend_beside(self.steps.clock.beyond())

    def _forget(self) -> None:
        """The iteration was left: forget what was begun."""
        self._within = self._waiting = False
        self.outputs.clear()
        self.steps.cancel()
        for monitor, guard in self._monitors.items():
            if monitor not in self.steps:
                guard(monitor.cancel)

    def _go_back(self, iteration: int) -> None:
        """The iterations start again, or go on from an earlier one."""
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
        """What is not a monitor's own fault (a cadence that raises, say) ends them all, once."""
        if self._failed:
            return
        self._failed = True
        _log.error(
            "deciding when to sample failed; monitoring ends and training goes on: %s: %s",
            type(error).__name__, error, exc_info=error,
        )  # fmt: skip
        self._due, self._is_due, self._within, self._waiting = _never, False, False, False
        self._looking = False
        self._each = self._looks = []
        with suppress(Exception):
            self.steps.leave(False)
        for monitor, guard in self._monitors.items():
            if guard.failure is None:
                guard.failure = error
                self.failures.setdefault(guard.name, error)
            with suppress(Exception):
                monitor.release()
            with suppress(Exception):
                monitor.cancel()

    def _disable(self, monitor: "Monitor") -> None:
        """There was a fault in it."""
        guard = self._monitors[monitor]
        if guard.failure is not None:
            self.failures.setdefault(guard.name, guard.failure)
        self._call_no_more(monitor)
        monitor.cancel()

    def _call_no_more(self, monitor: "Monitor") -> None:
        # New lists: somebody may be going through the old ones. Its hooks, if it has any, are
        # still taken away when the process function is left.
        self._begins = [pair for pair in self._begins if pair[0] is not monitor]
        self._ends = [pair for pair in self._ends if pair[0] is not monitor]
        self._each = [pair for pair in self._each if pair[0] is not monitor]
        self._looks = [pair for pair in self._looks if pair[0] is not monitor]

    def _see_bad_loss(self, engine: Engine) -> None:
        if self._alarm is not None:
            self._alarm(engine.state.iteration)
        if not self._is_due:  # what can still be measured of this iteration
            for monitor, guard in self._ends:
                if monitor.late:
                    guard(monitor.end, engine)
            self.outputs.clear()

    def _hear(self, step: int, tags: Sequence[str]) -> None:
        """In the writer's thread: these values of that step were not finite."""
        if self._alarm is not None and any(tag.startswith(SECTIONS) for tag in tags):
            self._alarm(step)


def _never(iteration: int) -> bool:
    return False


def as_sampler(every: "When | Sampler") -> Sampler:
    """The sampler itself, or a new one that samples `every` so often."""
    return every if isinstance(every, Sampler) else Sampler(every)
