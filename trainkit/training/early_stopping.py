"""Early stopping, as a handler of a run."""

import logging
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

from ignite.engine import Engine

from trainkit.rundir import Best
from trainkit.settings import CheckpointSettings

__all__ = ["EarlyStopping", "check_options", "early_stopping", "tell_missing", "value_of"]

_log = logging.getLogger("trainkit.training.notes")

Listener = Callable[[Mapping[str, Mapping[str, float]]], None]


class EarlyStopping:
    """Ends a training when a value has not improved for some evaluations.

    Args:
        stop: Ends the training, for a reason.
        iteration: Tells the iteration of the trainer.
        metric: A metric of the validation data by name, or `loss`.
        patience: Evaluations in a row without an improvement after which the training ends.
        mode: As in `early_stopping`.
        min_delta: As in `early_stopping`.
    """

    def __init__(
        self,
        stop: Callable[[str], None],
        iteration: Callable[[], int],
        *,
        metric: str = "loss",
        patience: int = 5,
        mode: str = "auto",
        min_delta: float = 0.0,
    ) -> None:
        self._sign = check_options(metric=metric, patience=patience, mode=mode, min_delta=min_delta)
        self._stop = stop
        self._iteration = iteration
        self._metric = metric
        self._patience = patience
        self._min_delta = min_delta
        self._best: float | None = None
        self._best_at = 0
        self._without = 0
        self._told = False

    def look(self, values: Mapping[str, Mapping[str, float]]) -> None:
        """Look at the values of an evaluation, by part of the data."""
        value = value_of(values, self._metric)
        if value is None:
            if not self._told:
                self._told = True
                tell_missing("early stopping", values, self._metric)
            return
        best = self._best
        if isfinite(value) and (best is None or self._sign * (value - best) > self._min_delta):
            self._best, self._best_at, self._without = value, self._iteration(), 0
            return
        self._without += 1
        if self._without >= self._patience:
            reached = "none" if best is None else f"{best:.4g}"
            reason = (
                f"early stopping: validation {self._metric} has not improved for {self._without} "
                f"evaluations (best {reached} at iteration {self._best_at})"
            )
            _log.warning("%s", reason)
            self._stop(reason)

    def state_dict(self) -> dict[str, Any]:
        """The best value so far, and for how many evaluations it has been the best."""
        return {"best": self._best, "best_at": self._best_at, "without": self._without}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._best, self._best_at = state_dict["best"], state_dict["best_at"]
        self._without = state_dict["without"]


def early_stopping(
    trainer: Engine,
    on_evaluation: Callable[[Listener], None],
    stop: Callable[[str], None] | None = None,
    *,
    metric: str = "loss",
    patience: int = 5,
    mode: str = "auto",
    min_delta: float = 0.0,
) -> EarlyStopping:
    """End the training when validation has not improved for some evaluations.

    To be used as a handler of a run: `handlers=early_stopping`, or in Python
    `handlers={"early_stopping": functools.partial(early_stopping, patience=3)}`.

    Args:
        trainer: What is ended; the run is completed then, not interrupted.
        on_evaluation: Given by the run.
        stop: Given by the run; None: the trainer is terminated, and keeps no reason.
        metric: A metric of the validation data by name, or `loss`.
        patience: Evaluations in a row without an improvement after which the training ends.
        mode: `min` or `max`: which is better; `auto`: min for the loss and errors, else max.
        min_delta: What is better by no more than this is no improvement.

    Returns:
        What counts, with a state that checkpoints keep.

    Raises:
        ValueError: `patience` is less than 1, `min_delta` is negative, or `mode` is none of these.
    """
    stopping = EarlyStopping(
        stop or (lambda reason: trainer.terminate()),
        lambda: trainer.state.iteration,
        metric=metric,
        patience=patience,
        mode=mode,
        min_delta=min_delta,
    )
    on_evaluation(stopping.look)
    return stopping


def value_of(values: Mapping[str, Mapping[str, float]], metric: str) -> float | None:
    """The value of a metric of the validation data, if there is one."""
    return values.get("validation", {}).get(metric)


def tell_missing(who: str, values: Mapping[str, Mapping[str, float]], metric: str) -> None:
    """Say that nothing will be stopped by a metric that is not there."""
    _log.warning(
        "%s: validation has no %r (it has %s): nothing is stopped by it",
        who, metric, ", ".join(values.get("validation", {})) or "no values",
    )  # fmt: skip


def check_options(
    *, metric: str = "loss", patience: int = 5, mode: str = "auto", min_delta: float = 0.0
) -> int:
    """Refuse options that cannot be; they can be looked at before there is a trainer.

    Returns:
        1 if more is better, -1 if less is.
    """
    if isinstance(patience, bool) or not isinstance(patience, int) or patience < 1:
        raise ValueError(f"patience must be 1 evaluation or more, got {patience!r}")
    if not min_delta >= 0:
        raise ValueError(f"min_delta must be 0 or more, got {min_delta!r}")
    return -1 if Best.of(CheckpointSettings(metric=metric, mode=mode)).mode == "min" else 1
