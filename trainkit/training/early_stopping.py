"""Early stopping, as a handler of a run."""

import logging
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

from ignite.engine import Engine

from trainkit.rundir import Best
from trainkit.settings import CheckpointSettings

__all__ = ["check_options", "early_stopping"]

_log = logging.getLogger("trainkit.training.notes")

Listener = Callable[[Mapping[str, Mapping[str, float]]], None]


def early_stopping(
    trainer: Engine,
    on_evaluation: Callable[[Listener], None],
    *,
    metric: str = "loss",
    patience: int = 5,
    mode: str = "auto",
    min_delta: float = 0.0,
) -> None:
    """End the training when validation has not improved for some evaluations.

    To be used as a handler of a run: `handlers=early_stopping`, or in Python
    `handlers={"early_stopping": functools.partial(early_stopping, patience=3)}`.

    Args:
        trainer: What is ended; the run is completed then, not interrupted.
        on_evaluation: Given by the run.
        metric: A metric of the validation data by name, or `loss`.
        patience: Evaluations in a row without an improvement after which the training ends.
        mode: `min` or `max`: which is better; `auto`: min for the loss and errors, else max.
        min_delta: What is better by no more than this is no improvement.

    Raises:
        ValueError: `patience` is less than 1, `min_delta` is negative, or `mode` is none of these.
    """
    sign = check_options(metric=metric, patience=patience, mode=mode, min_delta=min_delta)
    best: dict[str, Any] = {"value": None, "iteration": 0, "bad": 0, "told": False}

    def look(values: Mapping[str, Mapping[str, float]]) -> None:
        validation = values.get("validation", {})
        if metric not in validation:
            if not best["told"]:
                best["told"] = True
                _log.warning(
                    "early stopping: validation has no %r (it has %s): nothing is stopped by it",
                    metric, ", ".join(validation) or "no values",
                )  # fmt: skip
            return
        value = validation[metric]
        before = best["value"]
        if isfinite(value) and (before is None or sign * (value - before) > min_delta):
            best.update(value=value, iteration=trainer.state.iteration, bad=0)
            return
        best["bad"] += 1
        if best["bad"] >= patience and not trainer.should_terminate:
            _log.warning(
                "early stopping: validation %s has not improved for %d evaluations (best %s at "
                "iteration %d)", metric, best["bad"],
                "none" if before is None else f"{before:.4g}", best["iteration"],
            )  # fmt: skip
            trainer.terminate()

    on_evaluation(look)


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
