"""A run's monitors as a mapping: name → what makes one, completed by parameter name."""

import inspect
import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

from trainkit.fill_partials import check_complete, described, named_parameters_of
from trainkit.handlers.monitors.activations import ActivationMonitor
from trainkit.handlers.monitors.calibration import CalibrationMonitor
from trainkit.handlers.monitors.cost import CostMonitor
from trainkit.handlers.monitors.gradients import GradientMonitor
from trainkit.handlers.monitors.hyperparameters import HyperparameterMonitor
from trainkit.handlers.monitors.losses import LossMonitor
from trainkit.handlers.monitors.memory import MemoryMonitor
from trainkit.handlers.monitors.metrics import MetricMonitor
from trainkit.handlers.monitors.pictures import PictureMonitor
from trainkit.handlers.monitors.predictions import PredictionMonitor
from trainkit.handlers.monitors.throughput import ThroughputMonitor
from trainkit.handlers.monitors.updates import UpdateMonitor
from trainkit.handlers.monitors.weights import WeightMonitor
from trainkit.nearest import closest

__all__ = ["CHECKLIST", "check_monitors", "engines_of", "made_for", "waits_for"]

_log = logging.getLogger("trainkit")

#: Name → what makes the monitor, in the order in which they are attached.
CHECKLIST: Mapping[str, Any] = MappingProxyType(
    {
        "losses": partial(LossMonitor, every_iteration=True),
        "metrics": MetricMonitor,
        "predictions": PredictionMonitor,
        "calibration": CalibrationMonitor,
        "pictures": PictureMonitor,
        "activations": ActivationMonitor,
        "hyperparameters": HyperparameterMonitor,  # it may write a point of the iteration before
        "gradients": GradientMonitor,
        "weights": WeightMonitor,
        "updates": UpdateMonitor,
        "throughput": partial(ThroughputMonitor, every_iteration=True),
        "memory": MemoryMonitor,
        "cost": CostMonitor,
    }
)

# What a monitor can ask for, by the name of a parameter: of any engine, and of the trainer only.
_PROVIDED = (
    "writer", "trainer", "evaluators", "model", "models", "optimizers", "loss_fn", "kind",
    "ignore_index", "output_transform", "metric_names", "global_step_transform",
    "detail", "include", "exclude", "histograms_every", "scaler", "scheduled",
    "class_names", "cadence",
)  # fmt: skip
_OF_TRAINER = ("every", "sampler", "state_attributes")
_OF_EVALUATORS = ("evaluated_only",)


def check_monitors(
    monitors: Mapping[str, Any] | None, known: Iterable[str] = (), key: str = "monitors"
) -> dict[str, Any]:
    """The checklist with what was added, replaced and taken away.

    Args:
        monitors: Name → a monitor class, a `functools.partial` or another function that makes
            something with `attach(engine)`; or such a thing itself; None or False takes one away,
            True leaves the checklist's as it is.
        known: More names of objects that there will be.
        key: What the mapping is called in errors.

    Returns:
        Name → a partial, or what is attached as it is.

    Raises:
        TypeError: One is something else, or needs what there will not be.

    Example:
        >>> parts = check_monitors({"gradients": None, "memory": partial(MemoryMonitor)})
        >>> "gradients" in parts, list(parts)[-2:]
        (False, ['memory', 'cost'])
    """
    if monitors is not None and not isinstance(monitors, Mapping):
        raise TypeError(
            f"{key} must be a mapping from name to monitor, e.g. {{'gradients': None}}, "
            f"got {monitors!r:.80}"
        )
    found = dict(CHECKLIST)
    for name, part in (monitors or {}).items():
        if part is None or part is False:
            _tell_of_a_misspelt_name(name, key, found)
            found.pop(name, None)
        elif part is not True:
            found[name] = part
        elif name not in CHECKLIST:
            raise TypeError(
                f"{key}.{name}: true stands for one of {', '.join(CHECKLIST)}; of another monitor "
                "give the class"
            )
    names = (*_PROVIDED, *known)
    return {name: _checked(f"{key}.{name}", part, names) for name, part in found.items()}


def made_for(part: Any, engine: str) -> bool:
    """Whether a part is for this engine: `trainer`, or an evaluator by its name.

    What is for both and exists already (it is no class and no partial) is the trainer's.
    """
    names = engines_of(part)
    if engine == "trainer":
        return "trainer" in names
    if not isinstance(part, partial) and "trainer" in names:
        return False
    return engine in names or (
        "evaluators" in names and (engine != "train" or "trainer" not in names)
    )


def engines_of(part: Any) -> Sequence[str]:
    """What a part says of the engines that it is for: see `Monitor.engines`."""
    made = part.func if isinstance(part, partial) else part
    engines = getattr(made, "engines", ("trainer",))
    return (engines,) if isinstance(engines, str) else tuple(engines)


def waits_for(part: Any, name: str) -> bool:
    """Whether a part needs this, and does not have it yet."""
    return isinstance(part, partial) and named_parameters_of(part).get(name, False)


def _checked(key: str, part: Any, names: Sequence[str]) -> Any:
    if isinstance(part, type) or inspect.isroutine(part):
        part = partial(part)
    if not isinstance(part, partial):
        if not hasattr(part, "attach"):
            raise TypeError(
                f"{key} must be a monitor class, a functools.partial of one, something with "
                f"attach(engine), or None to take it away, got {described(part)}"
            )
        return part
    engines = engines_of(part)
    if "trainer" in engines:
        check_complete(part, dict.fromkeys((*names, *_OF_TRAINER)), key)
    if set(engines) != {"trainer"}:
        check_complete(part, dict.fromkeys((*names, *_OF_EVALUATORS)), key)
    return part


def _tell_of_a_misspelt_name(name: str, key: str, there: Mapping[str, Any]) -> None:
    close = closest(name, CHECKLIST, 1, 0.8)
    if name not in there and close and name not in CHECKLIST:
        _log.warning(
            "%s.%s: there is no such monitor to take away; nearest: %s", key, name, close[0]
        )
