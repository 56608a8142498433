"""Check that names in the settings exist in the run."""

from trainkit.names import nearest, unmatched
from trainkit.settings import CheckpointSettings, MonitorSettings
from trainkit.training.build import Built

__all__ = ["check_metric_names", "check_optimizers", "check_patterns"]

_NAMED = 4  # parameters that a line names


def check_metric_names(built: Built, kept: CheckpointSettings) -> None:
    """A metric that decides something must exist.

    Raises:
        ValueError: It does not, or there are no validation data to decide by.
    """
    names = ["loss", *built.metrics]
    validated = built.engines.evaluator is not None and built.data.validation is not None
    deciding = {"checkpoint.metric": kept.metric} if kept.best and validated else {}
    for schedule in built.schedules.values():
        if schedule.moves == "plateau":
            deciding["scheduler.metric"] = schedule.metric
            if not validated:
                raise ValueError(
                    "a scheduler that reduces on a plateau needs validation data, got none"
                )
    for key, metric in deciding.items():
        if metric.split("/")[0] not in names:
            raise ValueError(
                f"{key} must be a metric of the validation data, got {metric!r}; nearest: "
                f"{nearest(metric, names)}"
            )


def check_patterns(built: Built, watched: MonitorSettings) -> None:
    """A pattern of what is watched must match a parameter or a module.

    Raises:
        TypeError: A pattern is no text.
        ValueError: A pattern matches nothing.
    """
    single = list(built.models) == ["model"]
    names = [
        name if single else f"{model}.{name}"
        for model, module in built.models.items()
        for name in (*dict(module.named_parameters()), *dict(module.named_modules()))
    ]
    for key, patterns in (("include", watched.include), ("exclude", watched.exclude)):
        for pattern in patterns:
            if not isinstance(pattern, str):
                raise TypeError(f"monitor.{key} must hold patterns of names, got {pattern!r}")
        for line in unmatched(names, patterns):
            raise ValueError(f"monitor.{key}: {line}")


def check_optimizers(built: Built) -> list[str]:
    """An optimizer must hold parameters of the models.

    Returns:
        A line, if there are parameters that would learn and that no optimizer holds.

    Raises:
        ValueError: An optimizer holds none.
    """
    single = list(built.models) == ["model"]
    names = {
        id(parameter): name if single else f"{model}.{name}"
        for model, module in built.models.items()
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }
    held = set()
    for name, optimizer in built.optimizers.items():
        own = {id(p) for group in optimizer.param_groups for p in group["params"]}
        held |= own
        if names and not own & names.keys():
            key = "optimizer" if name == "optimizer" else f"optimizer.{name}"
            several = "parameter" if len(own) == 1 else "parameters"
            raise ValueError(
                f"{key} holds {len(own)} {several}, and none of them is one of the model's: "
                "nothing would learn; leave params out, or make it of the same model's parameters"
            )
    free = [name for identity, name in names.items() if identity not in held]
    if not free or not built.optimizers:
        return []
    some = ", ".join(free[:_NAMED]) + (", ..." if len(free) > _NAMED else "")
    return [
        f"{len(free)} of {len(names)} trainable parameters are in no optimizer and will not learn: "
        f"{some} (requires_grad=False says that it is meant)"
    ]
