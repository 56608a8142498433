"""Mixed precision: the dtype of the forward pass, and the loss scaler."""

from typing import Any

import torch
from torch import Tensor

__all__ = ["as_float32", "autocast", "loss_scaler"]

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(amp: str, device: torch.device) -> torch.autocast:
    """The context in which the forward runs; with `off` it does nothing.

    Args:
        amp: `off`, `bf16` or `fp16`.
        device: Where the model is.

    Raises:
        ValueError: `amp` is none of these.
    """
    if amp != "off" and amp not in _DTYPES:
        raise ValueError(f"amp must be one of off, bf16, fp16, got {amp!r}")
    return torch.autocast(device.type, dtype=_DTYPES.get(amp), enabled=amp != "off")


def loss_scaler(amp: str, device: torch.device) -> torch.amp.GradScaler | None:
    """A loss scaler for `fp16`, whose small gradients would become 0; otherwise None."""
    return torch.amp.GradScaler(device.type) if amp == "fp16" else None


def as_float32(y_pred: Any) -> Any:
    """The predictions with every half-precision tensor as float32, for losses and metrics.

    A loss in half precision loses digits, and some (binary cross entropy) are refused by
    autocast altogether.
    """
    if isinstance(y_pred, Tensor):
        return y_pred.float() if y_pred.dtype in _DTYPES.values() else y_pred
    if isinstance(y_pred, tuple) and hasattr(y_pred, "_fields"):
        return type(y_pred)(*(as_float32(item) for item in y_pred))
    if isinstance(y_pred, list | tuple):
        return type(y_pred)(as_float32(item) for item in y_pred)
    if isinstance(y_pred, dict):
        return {key: as_float32(item) for key, item in y_pred.items()}
    return y_pred
