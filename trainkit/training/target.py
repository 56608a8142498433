"""End the training when a metric is good enough, as a handler of a run."""

from collections.abc import Callable, Mapping
from math import isfinite

from trainkit.training.early_stopping import Listener, check_options, tell_missing, value_of

__all__ = ["stop_at_target"]


def stop_at_target(
    on_evaluation: Callable[[Listener], None],
    stop: Callable[[str], None],
    *,
    value: float,
    metric: str = "loss",
    mode: str = "auto",
) -> None:
    """End the training when a metric of the validation data reaches a value.

    To be used as a handler of a run: `handlers=target handlers.target.metric=accuracy
    handlers.target.value=0.95`, or in Python `handlers={"target": functools.partial(
    stop_at_target, metric="accuracy", value=0.95)}`.

    Args:
        on_evaluation: Given by the run.
        stop: Given by the run.
        value: What is to be reached.
        metric: A metric of the validation data by name, or `loss`.
        mode: `min` or `max`: which is better; `auto`: min for the loss and errors, else max.

    Raises:
        ValueError: `value` is not finite, or `mode` is none of these.
    """
    if not isfinite(value):
        raise ValueError(f"value must be finite, got {value}")
    sign = check_options(metric=metric, mode=mode)
    told = False

    def look(values: Mapping[str, Mapping[str, float]]) -> None:
        nonlocal told
        found = value_of(values, metric)
        if found is None:
            if not told:
                told = True
                tell_missing("target", values, metric)
        elif sign * (found - value) >= 0:
            stop(f"target reached: validation {metric} is {found:.4g}, asked for {value:g}")

    on_evaluation(look)
