"""A fault in a monitor is reported once and disables the monitor; the training run continues."""

import logging
from collections.abc import Callable
from typing import Any

from trainkit.handlers.sampling.stopwatch import Stopwatch

__all__ = ["Guard"]

_log = logging.getLogger("trainkit")


class Guard:
    """Calls the code of one monitor and catches what it raises.

    Args:
        name: What to call the monitor in the report.
        disable: Removes the monitor's hooks; called once, after the first fault.
        spend: Receives the host seconds of each call of a wrapped function.
        watch: Times those calls.
    """

    def __init__(
        self,
        name: str,
        disable: Callable[[], None],
        spend: Callable[[float], None] | None = None,
        watch: Stopwatch | None = None,
    ) -> None:
        self.name = name
        self.failure: BaseException | None = None
        self._disable = disable
        self._spend = spend
        self._watch = watch or Stopwatch()

    def __call__(self, function: Callable[..., Any], *args: Any) -> None:
        """Call `function(*args)` and drop its result; only interrupts are raised."""
        if self.failure is None:
            try:
                function(*args)
            except Exception as error:
                self.fail(error)

    def wrap(self, function: Callable[..., Any]) -> Callable[..., None]:
        """`function`, guarded and timed: for hooks that torch calls during training."""
        watch = self._watch

        def guarded(*args: Any) -> None:
            if self.failure is None:
                started = watch.start()
                self(function, *args)
                seconds = watch.stop(started)
                if self._spend is not None:
                    self._spend(seconds)

        return guarded

    def fail(self, error: Exception) -> None:
        """Report the first fault and disable the monitor; later faults are not reported."""
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
