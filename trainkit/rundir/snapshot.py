"""A copy of a state in main memory, so that it can be written while the training goes on."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["snapshot"]


def snapshot(state: Any) -> Any:
    """A copy of tensors and containers that later changes of the state do not reach.

    Tensors that share their memory (tied weights) share it in the copy too.

    Args:
        state: Nested mappings, lists and tuples of tensors and plain values.

    Returns:
        The same in main memory: plain dicts, lists and tuples.

    Cost: one copy of every tensor; of those on a device one read each.

    Example:
        >>> weight = torch.zeros(2)
        >>> copy = snapshot({"weight": weight, "lr": [0.1]})
        >>> _ = weight.fill_(1)
        >>> copy
        {'weight': tensor([0., 0.]), 'lr': [0.1]}
    """
    return _copy(state, {})


def _copy(value: Any, seen: dict[Any, Tensor]) -> Any:
    if isinstance(value, Tensor):
        return _copy_tensor(value.detach(), seen)
    if isinstance(value, Mapping):
        copied = {key: _copy(item, seen) for key, item in value.items()}
        versions = getattr(value, "_metadata", None)  # of a module: of what class versions it is
        if versions is None:
            return copied
        with_versions = OrderedDict(copied)
        with_versions._metadata = versions  # type: ignore[attr-defined]
        return with_versions
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return tuple(_copy(item, seen) for item in value)
    if isinstance(value, list | tuple):
        return type(value)(_copy(item, seen) for item in value)
    return value


def _copy_tensor(tensor: Tensor, seen: dict[Any, Tensor]) -> Tensor:
    if tensor.layout is not torch.strided or not tensor.numel():
        return tensor.cpu() if tensor.device.type != "cpu" else tensor.clone()
    key = (
        str(tensor.device), tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride(),
    )  # fmt: skip
    if key not in seen:
        seen[key] = tensor.clone() if tensor.device.type == "cpu" else tensor.cpu()
    return seen[key]
