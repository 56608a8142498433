"""The optimizers of a run: which parameters each gets, and whether its options are in range."""

from collections.abc import Mapping
from functools import partial
from inspect import signature
from math import isfinite
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from trainkit.fill_partials import by_name, complete, described
from trainkit.names import nearest

__all__ = ["check_closures", "make_optimizers"]


def make_optimizers(
    optimizer: Any, models: Mapping[str, nn.Module], known: Mapping[str, Any]
) -> dict[str, Optimizer]:
    """Complete the optimizers, each with the parameters of the model of its own name.

    Args:
        optimizer: Of the config: one, or several by name.
        models: By name, on the device.
        known: What partials may wait for.

    Raises:
        TypeError: A part is no optimizer.
        ValueError: There is nothing to train, two would train the same, or an option of a
            parameter group is wrong.
    """
    several = isinstance(optimizer, Mapping)
    parts = by_name(optimizer, "optimizer") if several else {"optimizer": optimizer}
    optimizers = {}
    on_all: list[str] = []
    for name, part in parts.items():
        key = f"optimizer.{name}" if several else "optimizer"
        own = {name: models[name]} if name in models else models
        params = [p for module in own.values() for p in module.parameters()]
        trainable = list({id(p): p for p in params if p.requires_grad}.values())
        if isinstance(part, partial) and "params" not in part.keywords and not trainable:
            raise ValueError(f"{key} has nothing to train: the model has no trainable parameter")
        given = {**known, "params": trainable}
        if name in models:
            given["model"] = models[name]
        made = complete(part, given, key)
        if not isinstance(made, Optimizer):
            raise TypeError(f"{key} must be a torch.optim.Optimizer, got {described(made)}")
        _check_groups(made, part, key)
        optimizers[name] = made
        if several and name not in models and "params" not in getattr(part, "keywords", {}):
            on_all.append(key)
    if len(on_all) > 1:
        raise ValueError(
            f"{' and '.join(on_all)} would train the same parameters: there is no model of either "
            f"name (there is {', '.join(models)}), and neither has params of its own"
        )
    if not optimizers:
        raise ValueError("optimizer must hold at least one optimizer, got an empty mapping")
    return optimizers


def check_closures(optimizers: Mapping[str, Optimizer]) -> None:
    """Refuse optimizers that call the model themselves: no engine of trainkit offers that.

    Raises:
        ValueError: There is one.
    """
    for name, optimizer in optimizers.items():
        closure = signature(type(optimizer).step).parameters.get("closure")
        if closure is not None and closure.default is closure.empty:
            key = "optimizer" if name == "optimizer" else f"optimizer.{name}"
            raise ValueError(
                f"{key}: {type(optimizer).__name__}.step needs a closure, which trainkit's engines "
                "do not give; choose an optimizer whose step() can be called alone"
            )


def _check_groups(optimizer: Optimizer, made_by: Any, key: str) -> None:
    """Check the options of parameter groups, which torch does not check."""
    known = set(optimizer.defaults)
    options = dict(made_by.keywords) if isinstance(made_by, partial) else {}
    for group in optimizer.param_groups:
        named = "name" in group and "params" in options
        place = f"{key}.params.groups.{group['name']}" if named else key
        for name, value in group.items():
            if isinstance(value, float) and not isfinite(value):
                raise ValueError(f"{place}.{name} must be finite, got {value}")
        if not named:
            continue
        own = {name: value for name, value in group.items() if name not in ("params", "name")}
        for name in own:
            # A custom optimizer may read options for which it has no default.
            if name not in known and type(optimizer).__module__.startswith("torch.optim"):
                raise ValueError(
                    f"{place}.{name}: {type(optimizer).__name__} has no such option; nearest: "
                    f"{nearest(name, sorted(known))}"
                )
        changed = {
            name: own[name] for name in own if name in options and own[name] != options[name]
        }
        for name, value in changed.items():
            _try(made_by, {**options, name: value}, f"{place}.{name}")


def _try(made_by: "partial[Any]", options: Mapping[str, Any], key: str) -> None:
    """Check an option of a group: pass it to the constructor, which checks its arguments."""
    try:
        made_by.func(*made_by.args, **{**options, "params": [nn.Parameter(torch.zeros(1))]})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{key}: {error}") from error
