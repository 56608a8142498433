"""What goes with a part that the command line replaces: the experiment's settings of that part.

`+experiment=breast_cancer optimizer=adam` chooses Adam in the place of the experiment's SGD; the
experiment's `optimizer.momentum` was meant for SGD.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from trainkit.masking import masked_override

__all__ = ["chosen_experiment", "default_options", "replaced_groups", "said", "without"]


def default_options(defaults: Sequence[Any]) -> dict[str, str | None]:
    """Group → option of a defaults list, the absolute name of the group.

    Example:
        >>> default_options(["schema", {"model": "cnn"}, {"override /optimizer": "sgd"}])
        {'model': 'cnn', 'optimizer': 'sgd'}
    """
    found: dict[str, str | None] = {}
    for item in defaults:
        for key, option in item.items() if isinstance(item, Mapping) else ():
            group = str(key).removeprefix("override ").strip().lstrip("/").partition("@")[0]
            found[group] = None if option is None else str(option)
    return found


def chosen_experiment(overrides: Sequence[str]) -> str:
    """The experiment that these overrides choose; empty if none."""
    for override in overrides:
        found = re.match(r"\+*experiment=(.+)$", override)
        if found:
            return found[1].strip("'\"")
    return ""


def replaced_groups(
    overrides: Sequence[str],
    experiments: Mapping[str, DictConfig],
    defaults: Mapping[str, str | None],
) -> dict[str, tuple[str, str | None]]:
    """Group → (its option on the command line, the other one that the experiment goes with).

    Args:
        overrides: Of the command line, of one run.
        experiments: Name → content, the defaults list included.
        defaults: Group → option that is chosen without an experiment.
    """
    name = chosen_experiment(overrides)
    if name not in experiments:
        return {}
    meant = {**defaults}
    for each in reversed(list(_with_parents(name, experiments))):
        meant |= default_options(_defaults_of(experiments[each]))
    found = {}
    for override in overrides:
        group, equals, option = override.lstrip("+").partition("=")
        option = option.strip("'\"")
        if equals and group in meant and group != "experiment" and option != str(meant[group]):
            found[group] = (option, meant[group])
    return found


def without(node: DictConfig, groups: Sequence[str]) -> DictConfig:
    """The experiment without its settings of these groups."""
    kept = {key: value for key, value in node.items_ex(resolve=False) if key not in groups}
    return OmegaConf.create(kept)


def said(
    overrides: Sequence[str],
    experiments: Mapping[str, DictConfig],
    defaults: Mapping[str, str | None],
    shown: str,
) -> list[str]:
    """A line for each replaced group of which an experiment's settings were dropped.

    Args:
        overrides: Of the command line, of one run.
        experiments: Name → content.
        defaults: Group → option that is chosen without an experiment.
        shown: How to call the chosen experiment.
    """
    lines = []
    for group, (option, other) in replaced_groups(overrides, experiments, defaults).items():
        dropped: dict[str, Any] = {}
        for name in _with_parents(chosen_experiment(overrides), experiments):
            settings = experiments[name].get(group)
            if isinstance(settings, DictConfig):
                dropped = {**OmegaConf.to_container(settings), **dropped}  # type: ignore[dict-item]
        if dropped:
            what = ", ".join(_setting(f"{group}.{key}", value) for key, value in dropped.items())
            instead = f" replaces {other}" if other else ""
            lines.append(f"{group}={option}{instead}: {what} of {shown} left out")
    return lines


def _setting(key: str, value: Any) -> str:
    return key if isinstance(value, dict) else masked_override(f"{key}={value}")


def _with_parents(name: str, experiments: Mapping[str, DictConfig]) -> Iterator[str]:
    """The experiment, then those that its defaults list begins with."""
    waiting, seen = [name], set()
    while waiting:
        each = waiting.pop(0)
        if each in seen or each not in experiments:
            continue
        seen.add(each)
        yield each
        folder = each.rpartition("/")[0]
        for item in _defaults_of(experiments[each]):
            if isinstance(item, str):
                parent = item.removeprefix("/experiment/")
                waiting.append(f"{folder}/{parent}" if folder and parent == item else parent)


def _defaults_of(node: DictConfig) -> list[Any]:
    found = OmegaConf.to_container(node, resolve=False)
    defaults = found.get("defaults") if isinstance(found, dict) else None
    return defaults if isinstance(defaults, list) else []
