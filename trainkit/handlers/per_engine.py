"""Arguments of `attach_monitors` that may differ between the trainer and the evaluators."""

from collections.abc import Callable, Mapping
from typing import Any

from ignite.engine import Engine

from trainkit.handlers.monitors.metrics import StepTransform

__all__ = [
    "Transform",
    "evaluators_by_name",
    "metric_options_by_engine",
    "transforms_by_engine",
]

Transform = Callable[[Any], Any]


def evaluators_by_name(evaluators: Engine | Mapping[str, Engine] | None) -> dict[str, Engine]:
    """The evaluators by name; a single one is called `validation`."""
    if evaluators is None:
        return {}
    return dict(evaluators) if isinstance(evaluators, Mapping) else {"validation": evaluators}


def transforms_by_engine(
    given: Transform | Mapping[str, Transform] | None, evaluators: Mapping[str, Engine]
) -> dict[str, Transform]:
    """Engine → output transform, from one for all or one for each.

    Raises:
        TypeError, ValueError: A transform is no function, or its engine does not exist.
    """
    names = ["trainer", *evaluators]
    found = dict(given) if isinstance(given, Mapping) else dict.fromkeys(names, given)
    for name, transform in found.items():
        if name not in names:
            raise ValueError(
                f"output_transform names the engine {name!r}; there is {', '.join(names)}"
            )
        if transform is not None and not callable(transform):
            raise TypeError(
                "output_transform must be a function, or a mapping from 'trainer' and the "
                f"evaluators' names to functions, got {transform!r:.80}"
            )
    return {name: transform for name, transform in found.items() if transform is not None}


def metric_options_by_engine(
    names: Any, transform: StepTransform | None, evaluators: Mapping[str, Engine]
) -> dict[str, dict[str, Any]]:
    """Engine → arguments of its `MetricMonitor`.

    Raises:
        ValueError: `metric_names` names an engine that does not exist.
    """
    engines = ["trainer", *evaluators]
    chosen = names if isinstance(names, Mapping) else dict.fromkeys(engines, names)
    for name in chosen:
        if name not in engines:
            raise ValueError(
                f"metric_names names the engine {name!r}; there is {', '.join(engines)}"
            )
    return {
        name: {"metric_names": chosen.get(name, "all"), "global_step_transform": transform}
        for name in engines
    }
