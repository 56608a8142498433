"""What an engine does with a batch before the model, and with the predictions after it."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from ignite.utils import convert_tensor
from torch import Tensor

__all__ = ["Loss", "PrepareBatch", "contributions_and_total", "move_pair"]

Loss: TypeAlias = Callable[[Any, Any], Tensor | Mapping[str, Tensor]]
PrepareBatch: TypeAlias = Callable[[Any, torch.device], tuple[Any, Any]]


def move_pair(batch: Any, device: torch.device) -> tuple[Any, Any]:
    """The batch `(x, y)` on the device.

    Raises:
        TypeError: The batch is not a pair.
    """
    if not (isinstance(batch, list | tuple) and len(batch) == 2):
        raise TypeError(
            f"a batch must be a pair (x, y), got {type(batch).__name__}"
            f"{f' of length {len(batch)}' if isinstance(batch, list | tuple) else ''}; "
            "other batches need a prepare_batch"
        )
    x, y = batch
    return (
        convert_tensor(x, device=device, non_blocking=True),
        convert_tensor(y, device=device, non_blocking=True),
    )


def contributions_and_total(
    loss_fn: Loss, name: str, y_pred: Any, y: Any
) -> tuple[Mapping[str, Tensor], Tensor]:
    """The contributions of the components, and their sum; of a plain loss one called `name`."""
    value = loss_fn(y_pred, y)
    contributions = value if isinstance(value, Mapping) else {name: value}
    parts = iter(contributions.values())
    total = next(parts)
    for part in parts:
        total = total + part
    return contributions, total
