"""A fault in a monitor is reported once and ends the monitor, never the training run."""

import logging
from collections.abc import Callable
from time import perf_counter
from typing import Any

from trainkit.handlers.sampling.device_clock import DeviceClock

__all__ = ["Guard"]

_log = logging.getLogger("trainkit")


class Guard:
    """Calls a monitor's code, and keeps its faults in.

    Args:
        name: What to call the monitor in the report.
        disable: Takes the monitor's hooks away; called once, after the first fault.
        spend: Receives the seconds of host time that each call of a hook took.
        clock: The clock of the device that hooks use, if there is one by then.
    """

    def __init__(
        self,
        name: str,
        disable: Callable[[], None],
        spend: Callable[[float], None] | None = None,
        clock: Callable[[], DeviceClock | None] = lambda: None,
    ) -> None:
        self.name = name
        self.failure: BaseException | None = None
        self._disable = disable
        self._spend = spend
        self._clock = clock

    def __call__(self, function: Callable[..., Any], *args: Any) -> None:
        """Call `function(*args)`; nothing is returned and nothing but an interrupt is raised."""
        if self.failure is None:
            try:
                function(*args)
            except Exception as error:
                self.fail(error)

    def wrap(self, function: Callable[..., Any]) -> Callable[..., None]:
        """`function`, guarded and timed: for hooks that torch calls while it trains."""

        def guarded(*args: Any) -> None:
            if self.failure is None:
                clock = self._clock()
                mark = None if clock is None else clock.start()
                start = perf_counter()
                self(function, *args)
                seconds = perf_counter() - start
                if clock is not None:
                    clock.stop(mark, seconds)
                if self._spend is not None:
                    self._spend(seconds)

        return guarded

    def fail(self, error: Exception) -> None:
        """Report a fault and disable the monitor; what comes after it is not reported."""
        if self.failure is not None:
            return
        self.failure = error
        _log.error(
            "%s failed and is disabled; training goes on: %s: %s",
            self.name, type(error).__name__, error, exc_info=error,
        )  # fmt: skip
        try:
            self._disable()
        except Exception:
            _log.exception("%s could not take all of its hooks away", self.name)
