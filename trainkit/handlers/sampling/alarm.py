"""Tells a cadence what is not finite, and what the writers' threads cost."""

import logging
from collections.abc import Callable, Sequence
from math import inf
from typing import Any
from weakref import WeakMethod

from ignite.engine import Engine

from trainkit.handlers.sampling.cadence import Cadence
from trainkit.handlers.sampling.visible_loss import SECTIONS, loss_in_sight
from trainkit.writers.protocol import Reporting
from trainkit.writers.sinks.alarm import AlarmSink

__all__ = ["Alarm"]

_log = logging.getLogger("trainkit")


class Alarm:
    """Listens to the loss of every iteration and to what the writers' threads have read.

    Args:
        cadence: Told, if it has `alarm` and `spend_beside`, as a `Budget` has.
    """

    def __init__(self, cadence: Cadence) -> None:
        self._tell: Callable[[int], None] | None = getattr(cadence, "alarm", None)
        self._spend: Callable[[float], None] | None = getattr(cadence, "spend_beside", None)
        #: Whether the loss of every iteration is looked at.
        self.looks = self._tell is not None
        # The thread must not keep the sampler alive.
        heard = WeakMethod(self._on_non_finite)
        self._sink = AlarmSink(lambda step, tags: (found := heard()) and found(step, tags))
        # Writers with a thread, and what the thread had taken when it was asked last.
        self._threads: dict[Reporting, float] = {}

    def listen(self, writer: Any) -> None:
        """Listen to a writer, if it has a thread of its own."""
        if isinstance(writer, Reporting) and writer not in self._threads:
            self._threads[writer] = writer.thread_seconds
            if self._tell is not None:
                writer.add_sink(self._sink)

    def stop(self) -> None:
        """Listen to no writer any more."""
        for writer in self._threads:
            writer.remove_sink(self._sink)
        self._threads = {}

    def sees(self, engine: Engine, loss: float | None) -> bool:
        """Whether the loss of this iteration is known not to be finite; then tell the cadence.

        Args:
            engine: The iteration is complete.
            loss: What a monitor has read; None: look at the engine's output.
        """
        if loss is None:
            try:
                loss = loss_in_sight(engine.state.output)
            except Exception:  # whatever the step returned, it is not worth a training run
                self.looks = False
                _log.exception("the loss cannot be looked at, and is not any more")
        if loss is None or -inf < loss < inf:
            return False
        if self._tell is not None:
            self._tell(engine.state.iteration)
        return True

    def spend_threads(self) -> None:
        """Tell the cadence what the writers' threads have taken since the last call."""
        if self._spend is None:
            return
        for writer, before in self._threads.items():
            now = writer.thread_seconds
            if now != before:
                self._threads[writer] = now
                self._spend(now - before)

    def _on_non_finite(self, step: int, tags: Sequence[str]) -> None:
        """In a writer's thread: these values of that step were not finite."""
        if self._tell is not None and any(tag.startswith(SECTIONS) for tag in tags):
            self._tell(step)
