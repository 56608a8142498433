"""The step output that every engine of trainkit returns."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor

__all__ = ["component_name", "detached", "step_output"]


def step_output(
    contributions: Mapping[str, Tensor], total: Tensor, y_pred: Any, y: Any
) -> dict[str, Any]:
    """The fixed contract: `loss`, `losses`, `y_pred`, `y`, all detached, all on the device."""
    return {
        "loss": total.detach(),
        "losses": {name: value.detach() for name, value in contributions.items()},
        "y_pred": detached(y_pred),
        "y": y,
    }


def component_name(loss_fn: Callable[..., Any]) -> str:
    """What the one component of a plain loss is called.

    Example:
        >>> from torch import nn
        >>> component_name(nn.CrossEntropyLoss()), component_name(nn.functional.l1_loss)
        ('cross_entropy', 'l1')
    """
    while isinstance(loss_fn, partial):
        loss_fn = loss_fn.func
    name = getattr(loss_fn, "__name__", type(loss_fn).__name__)
    known = {"MSELoss": "mse", "BCELoss": "bce", "NLLLoss": "nll", "CTCLoss": "ctc"}
    if name in known:
        return known[name]
    name = name.replace("BCEWith", "BceWith").replace("NLL", "Nll")
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    return snake.removesuffix("_loss") if snake.isidentifier() else "loss"


def detached(y_pred: Any) -> Any:
    """The same structure with every tensor detached."""
    if isinstance(y_pred, Tensor):
        return y_pred.detach()
    if isinstance(y_pred, tuple) and hasattr(y_pred, "_fields"):
        return type(y_pred)(*(detached(item) for item in y_pred))
    if isinstance(y_pred, list | tuple):
        return type(y_pred)(detached(item) for item in y_pred)
    if isinstance(y_pred, dict):
        return {key: detached(item) for key, item in y_pred.items()}
    return y_pred
