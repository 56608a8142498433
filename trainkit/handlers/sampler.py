"""One pair of event handlers for all monitors that measure in the same iterations."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ignite.engine import Engine, Events, RemovableEventHandle
from torch.utils.hooks import RemovableHandle

from trainkit.handlers.cadence import Cadence, Every
from trainkit.handlers.guard import Guard

if TYPE_CHECKING:
    from trainkit.handlers.monitor import Monitor

__all__ = ["Sampler", "as_sampler"]


class Sampler:
    """Decides when the monitors of one engine measure, and calls them.

    Monitors that share a sampler measure in the same iterations and cost one pair of Ignite
    handlers together, so an iteration that is not sampled costs two short calls, however many
    monitors there are.

    Args:
        every: How often, in iterations, or a cadence that decides.

    Raises:
        TypeError, ValueError: `every` is not a number of iterations.
    """

    def __init__(self, every: int | Cadence = 1) -> None:
        decides = callable(getattr(every, "due", None))
        self.cadence: Cadence = every if decides else Every(every)  # type: ignore[assignment, arg-type]
        self._due = self.cadence.due
        self._engine: Engine | None = None
        self._handles: list[RemovableEventHandle] = []
        self._monitors: dict[Monitor, Guard] = {}
        self._sampled: list[tuple[Monitor, Guard]] = []
        self._resting: list[tuple[Monitor, Guard]] = []
        self._within = False
        self._spent: list[RemovableHandle] = []
        self.failures: dict[str, BaseException] = {}

    def subscribe(self, engine: Engine, monitor: "Monitor") -> Guard:
        """Call `monitor` in the sampled iterations of `engine` from now on.

        Raises:
            ValueError: The monitor is attached already, or the sampler serves another engine.
        """
        if monitor in self._monitors:
            raise ValueError(f"{type(monitor).__name__} is attached already; remove() it first")
        if self._engine is not None and self._engine is not engine:
            raise ValueError("a Sampler serves one engine; give the other engine its own Sampler")
        if self._engine is None:
            self._engine = engine
            self._handles = [
                engine.add_event_handler(Events.ITERATION_STARTED, self._start),
                engine.add_event_handler(Events.ITERATION_COMPLETED, self._complete),
            ]
        guard = Guard(type(monitor).__name__, monitor.cancel, self.cadence.spend)
        self._monitors[monitor] = guard
        return guard

    def unsubscribe(self, monitor: "Monitor") -> None:
        """Forget `monitor`; with the last one the event handlers go too."""
        if self._monitors.pop(monitor, None) is None:
            return
        self._sampled = [pair for pair in self._sampled if pair[0] is not monitor]
        self._resting = [pair for pair in self._resting if pair[0] is not monitor]
        self._remove_spent()
        if not self._monitors:
            for handle in self._handles:
                handle.remove()
            self._handles, self._engine = [], None

    def remove_later(self, hooks: Iterable[RemovableHandle]) -> None:
        """Remove these hooks when the iteration is over.

        For a hook that takes itself away: torch is going through its hooks at that moment, and
        fails if one disappears.
        """
        self._spent += hooks

    def _remove_spent(self) -> None:
        for hook in self._spent:
            hook.remove()
        self._spent = []

    def _start(self, engine: Engine) -> None:
        if self._spent:
            self._remove_spent()
        if self._within:  # the iteration before was left by an exception
            self._within = False
            for monitor, guard in self._sampled:
                guard(monitor.cancel)
            self._sampled = []
        if self._due(engine.state.iteration):
            self._sampled = list(self._monitors.items())
            for monitor, guard in self._sampled:
                guard(monitor.begin, engine)
        elif self._resting:
            for monitor, guard in self._resting:
                guard(monitor.rest)
        self._resting = []
        self._within = bool(self._sampled)

    def _complete(self, engine: Engine) -> None:
        if self._spent:
            self._remove_spent()
        if not self._sampled:
            return
        self._within = False
        for monitor, guard in self._sampled:
            guard(monitor.end, engine)
            if guard.failure is not None:
                self.failures.setdefault(guard.name, guard.failure)
                # Again: within one of torch's hooks not every hook could be taken away.
                monitor.cancel()
        self._resting = self._sampled
        # What these wait for may come in an iteration that is not sampled.
        self._sampled = [(m, g) for m, g in self._sampled if m.pending and g.failure is None]


def as_sampler(every: "int | Cadence | Sampler") -> Sampler:
    """The sampler itself, or a new one that samples `every` so often."""
    return every if isinstance(every, Sampler) else Sampler(every)
