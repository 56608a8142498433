"""Parameter groups by name pattern."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from trainkit.names import matching, parameters_by_name

__all__ = ["parameter_groups"]


def parameter_groups(
    model: nn.Module | Mapping[str, nn.Module],
    groups: Mapping[str, Mapping[str, Any]],
    include: Sequence[str] = ("*",),
) -> list[dict[str, Any]]:
    """Parameter groups for any torch optimizer, by patterns of parameter names.

    A parameter goes into the first group that has a pattern matching its name; what matches none
    goes into a last group called `default`, which has the optimizer's own options. Frozen
    parameters are left out.

    Args:
        model: The model, or several by name (their parameters are then `<model>.<parameter>`).
        groups: Group name → `{"parameters": patterns, **options}` (one or several: see
            `names.matches`); the options (`lr`, `weight_decay`, ...) replace the optimizer's own
            for that group. `max_dimensions`
            in place of the patterns, or beside them, takes only parameters with so few
            dimensions: with 1, the biases and the weights of norms of any model.
        include: Patterns of the parameters that are the optimizer's business at all.

    Returns:
        Groups with `params`, `name` and the options; empty groups are left out.

    Raises:
        TypeError: A group is not of that form.
        ValueError: A pattern matches no parameter, a group has no patterns or is called
            `default`, or nothing trainable is left.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
        >>> groups = {"no_decay": {"parameters": ["*.bias", "1.*"], "weight_decay": 0.0}}
        >>> [(g["name"], len(g["params"])) for g in parameter_groups(model, groups)]
        [('no_decay', 3), ('default', 1)]
    """
    named = parameters_by_name(model)
    names = matching(list(named), include, "optimizer.params.include")
    group_of: dict[str, str] = {}
    options: dict[str, dict[str, Any]] = {}
    for group, settings in groups.items():
        key = f"optimizer.params.groups.{group}"
        patterns, most, options[group] = _parts(key, group, settings)
        for name in matching(names, patterns, f"{key}.parameters"):
            if most is None or named[name].ndim <= most:
                group_of.setdefault(name, group)
    options["default"] = {}
    built = [
        {
            "params": [
                named[name]
                for name in names
                if group_of.get(name, "default") == group and named[name].requires_grad
            ],
            "name": group,
            **options[group],
        }
        for group in options
    ]
    built = [group for group in built if group["params"]]
    if not built:
        raise ValueError("an optimizer needs parameters to train, but every one of them is frozen")
    return built


def _parts(key: str, group: str, settings: Any) -> tuple[Sequence[str], int | None, dict[str, Any]]:
    if not isinstance(settings, Mapping):
        raise TypeError(f"{key} must be {{parameters: [patterns], ...}}, got {settings!r}")
    if group == "default":
        raise ValueError(f"{key}: 'default' is what matches no pattern; call this group otherwise")
    most = settings.get("max_dimensions")
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 0):
        raise ValueError(f"{key}.max_dimensions must be 0 or more, got {most!r}")
    patterns = settings.get("parameters", None if most is None else ["*"])
    if not patterns:
        raise ValueError(f"{key}.parameters must be a list of patterns, got {dict(settings)!r}")
    choice = ("parameters", "max_dimensions")
    options = {name: value for name, value in settings.items() if name not in choice}
    for reserved in {"params", "name"} & set(options):
        raise ValueError(f"{key}.{reserved} is set by parameter_groups; leave it out")
    return patterns, most, options
