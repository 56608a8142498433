"""Why a training ends before its last iteration."""

from collections.abc import Callable
from time import perf_counter
from typing import Any

from ignite.engine import Engine

from trainkit.screen import duration

__all__ = ["Stopping"]

_MINUTE = 60.0


class Stopping:
    """Ends a training at the end of the iteration that is going on, and keeps the reason.

    Args:
        trainer: What is ended.
        max_minutes: Of training, evaluation and monitoring, over all parts of a resumed run; None:
            no limit.
        clock: Tells the time in seconds.
    """

    def __init__(
        self,
        trainer: Engine,
        max_minutes: float | None = None,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self._trainer = trainer
        self._max_minutes = max_minutes
        self._clock = clock
        self._begun = clock()
        self._before = 0.0
        #: The first reason that was given; empty: none.
        self.reason = ""

    @property
    def seconds(self) -> float:
        """Since the run began, without the time in which it was interrupted."""
        return self._before + self._clock() - self._begun

    @property
    def stopped(self) -> bool:
        """Whether the training ends before its last iteration, with a reason or without."""
        return bool(self.reason or self._trainer.should_terminate)

    def stop(self, reason: str) -> None:
        """End the training; of several reasons the first counts.

        Args:
            reason: For the summary, `run.json` and the dashboard.
        """
        self.reason = self.reason or reason
        self._trainer.terminate()

    @property
    def over(self) -> str:
        """Why the training must end now, if its time is over; else empty."""
        if self._max_minutes is None or self.reason:
            return ""
        seconds = self.seconds
        if seconds < self._max_minutes * _MINUTE:
            return ""
        return f"trainer.max_minutes={self._max_minutes:g} is reached, after {duration(seconds)}"

    def look(self) -> None:
        """End the training if its time is over; called after each iteration."""
        if reason := self.over:
            self.stop(reason)

    def state_dict(self) -> dict[str, Any]:
        """The time so far, and whether and why the training has ended."""
        return {"seconds": self.seconds, "reason": self.reason, "stopped": self.stopped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting; a training that was ended stays so until `go_on`."""
        self._before, self._begun = state_dict["seconds"], self._clock()
        self.reason = state_dict["reason"]

    def go_on(self) -> None:
        """Forget the reason: the training is to go on."""
        self.reason = ""
