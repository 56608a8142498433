"""The one handle for all monitors of a checklist."""

from collections.abc import Callable, Iterable
from types import TracebackType

from ignite.engine import Engine, Events, RemovableEventHandle

from trainkit.handlers.guard import Guard
from trainkit.handlers.monitor import Monitor
from trainkit.handlers.sampler import Sampler

__all__ = ["AttachedMonitors"]


class AttachedMonitors:
    """The monitors of a trainer and its evaluators, to be taken off together.

    Args:
        sampler: Decides in which iterations the trainer's monitors measure.
        released: Called when they have been taken off.
    """

    def __init__(self, sampler: Sampler, released: Callable[[], None]) -> None:
        self.sampler = sampler
        self.monitors: dict[str, Monitor] = {}
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
        """One line per monitor: where it is attached, and whether it is still at work."""
        failures = self.failures
        return "\n".join(
            f"{name}: " + (f"disabled by {failures[name]!r}" if name in failures else "at work")
            for name in self.monitors
        )

    def add(self, place: str, engine: Engine, monitor: Monitor) -> None:
        """Attach a monitor to `engine` and keep it under `<place>/<its class>`."""
        self._handles.append(monitor.attach(engine))
        self.monitors[f"{place}/{type(monitor).__name__}"] = monitor

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
