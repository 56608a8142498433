"""Which functions of which monitors are called at each moment."""

from collections.abc import Iterator
from typing import Any

from trainkit.handlers.sampling.moment import Moment
from trainkit.handlers.sampling.subscriber import Call, Measures, Subscriber

__all__ = ["Dispatch"]


class Dispatch:
    """The monitors of one sampler, and their functions as one list per moment.

    The lists are replaced when a monitor comes or goes, never changed: a loop over one may be
    running. They are plain attributes because most are read in every iteration.
    """

    def __init__(self) -> None:
        self._subscribers: dict[Measures, Subscriber] = {}
        self._silent: set[Subscriber] = set()
        self._make_lists()

    def __contains__(self, monitor: Any) -> bool:
        return monitor in self._subscribers

    def __iter__(self) -> Iterator[Subscriber]:
        return iter([*self._subscribers.values()])

    def __len__(self) -> int:
        return len(self._subscribers)

    def add(self, monitor: Measures, subscriber: Subscriber) -> None:
        """Call a monitor from now on."""
        self._subscribers[monitor] = subscriber
        self._make_lists()

    def pop(self, monitor: Measures) -> Subscriber | None:
        """Call it no more; None: it was not there."""
        found = self._subscribers.pop(monitor, None)
        if found is not None:
            self._silent.discard(found)
            self._make_lists()
        return found

    def silence(self, subscriber: Subscriber) -> None:
        """Call a monitor that has failed no more, except to remove its hooks."""
        self._silent.add(subscriber)
        self._make_lists()

    def _make_lists(self) -> None:
        of = self._calls
        self.started = of(Moment.ITERATION_STARTED)
        self.completed = of(Moment.ITERATION_COMPLETED)
        self.non_finite = of(Moment.NON_FINITE_LOSS)
        self.every_started = of(Moment.EVERY_ITERATION_STARTED)
        self.every_left = of(Moment.EVERY_PROCESS_LEFT)
        self.every_completed = of(Moment.EVERY_ITERATION_COMPLETED)
        self.run_completed = of(Moment.RUN_COMPLETED)
        self.left = of(Moment.PROCESS_LEFT, also_silent=True)

    def _calls(self, moment: Moment, *, also_silent: bool = False) -> list[Call]:
        return [
            (function, subscriber.guard)
            for subscriber in self._subscribers.values()
            if (function := subscriber.moments.get(moment)) is not None
            and (also_silent or subscriber not in self._silent)
        ]
