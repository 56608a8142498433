"""The one handle for all monitors of a checklist."""

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType

from ignite.engine import Engine, Events, RemovableEventHandle

from trainkit.handlers.arguments import is_about_arguments
from trainkit.handlers.guard import Guard
from trainkit.handlers.monitor import Monitor
from trainkit.handlers.sampler import Sampler

__all__ = ["AttachedMonitors"]

_log = logging.getLogger("trainkit")


class AttachedMonitors:
    """The monitors of a trainer and its evaluators, to be taken off together.

    Args:
        sampler: Decides in which iterations the trainer's monitors measure.
        released: Called when they have been taken off.
    """

    def __init__(self, sampler: Sampler, released: Callable[[], None]) -> None:
        self.sampler = sampler
        self.monitors: dict[str, Monitor] = {}
        #: What could not be attached, and why.
        self.left_out: dict[str, Exception] = {}
        self.close: Callable[[], None] = lambda: None
        self._released = released
        self._handles: list[RemovableEventHandle] = []
        self._flush: RemovableEventHandle | None = None
        self._training = False

    @property
    def failures(self) -> dict[str, BaseException]:
        """What ended a monitor, by its name, e.g. `train/GradientMonitor`."""
        return {
            name: monitor.guard.failure
            for name, monitor in self.monitors.items()
            if monitor.guard.failure is not None
        }

    def report(self) -> str:
        """One line per monitor: what it has written, and when; or what ended it."""
        lines = []
        for name, monitor in self.monitors.items():
            line = f"{name}: {monitor.writer}"
            if monitor.guard.failure is not None:
                line += f"; disabled by {monitor.guard.failure!r}"
            elif (failing := getattr(monitor.writer, "failing", None)) is not None:
                line += f"; its writer does not work now: {failing!r}"
            lines.append(line)
        lines += [f"{name}: left out, because of {e!r}" for name, e in self.left_out.items()]
        return "\n".join(lines) or "no monitor is attached"

    def __repr__(self) -> str:
        return f"{type(self).__name__}:\n  " + self.report().replace("\n", "\n  ")

    def add(self, place: str, engine: Engine, monitor: Monitor) -> None:
        """Attach a monitor to `engine` and keep it under `<place>/<its class>`."""
        try:
            self._handles.append(monitor.attach(engine))
        except Exception:
            with suppress(Exception):  # half of it may be attached
                monitor.sampler.unsubscribe(monitor)
                monitor.cancel()
            raise
        name = f"{place}/{type(monitor).__name__}"
        self.monitors[name] = monitor

    def attach(
        self,
        place: str,
        engine: Engine,
        make: Callable[[], Monitor],
        prepare: Callable[[Monitor], None] = lambda monitor: None,
    ) -> None:
        """Make a monitor and attach it; one that cannot be is left out, with a line in the log.

        Raises:
            TypeError, ValueError: It was refused for its arguments.
        """
        try:
            monitor = make()
            prepare(monitor)
            self.add(place, engine, monitor)
        except Exception as error:
            if is_about_arguments(error):
                raise
            kind = getattr(getattr(make, "func", make), "__name__", "a monitor")
            self.left_out[f"{place}/{kind}"] = error
            _log.warning("%s is left out: %s: %s", kind, type(error).__name__, error)

    def flush_after(
        self, trainer: Engine, evaluators: Iterable[Engine], flush: Callable[[], None]
    ) -> None:
        """Call `flush` when training is over, and after every evaluation that comes later."""
        guard = Guard("flushing the writers", lambda: None)

        def start(engine: Engine) -> None:
            # Attached anew, to come behind an evaluation that `COMPLETED` starts.
            self._training = True
            self._let_go()
            self._flush = engine.add_event_handler(Events.COMPLETED, complete)

        def complete(engine: Engine) -> None:
            self._training = False
            guard(flush)

        def complete_evaluation(engine: Engine) -> None:
            if not self._training:
                guard(flush)

        self._handles.append(trainer.add_event_handler(Events.STARTED, start))
        self._handles += [
            evaluator.add_event_handler(Events.COMPLETED, complete_evaluation)
            for evaluator in evaluators
        ]

    def remove(self) -> None:
        """Take every monitor off, and close the writers that were opened; harmless when done."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._let_go()
        self._released()
        self.close()

    def __enter__(self) -> "AttachedMonitors":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.remove()

    def _let_go(self) -> None:
        if self._flush is not None:
            self._flush.remove()
            self._flush = None
