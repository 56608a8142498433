"""Read the loss of an iteration, if no device read is needed."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["SECTIONS", "loss_in_sight"]

# Never NaN in a healthy training. For a metric or a ratio NaN may be right.
SECTIONS = ("loss/", "gradients/", "weights/")


def loss_in_sight(output: Any) -> float | None:
    """The loss of a step, if it can be seen from here.

    Args:
        output: `engine.state.output`: the loss, or a mapping with `loss`. It can be seen where it
            is a Python number or in main memory.

    Example:
        >>> import torch
        >>> loss_in_sight({"loss": torch.tensor(0.5)}), loss_in_sight("what is this?")
        (0.5, None)
    """
    loss = output.get("loss") if type(output) is dict else output
    # Asked in every iteration, so the usual case comes first.
    if type(loss) is Tensor and loss.is_cpu and loss.dtype is torch.float32 and not loss.ndim:
        return loss.item()  # of main memory: there is no device to wait for
    return _seen(output.get("loss") if isinstance(output, Mapping) else output)


def _seen(loss: Any) -> float | None:
    if not isinstance(loss, Tensor):
        return loss if isinstance(loss, float) else None
    if not loss.is_cpu or loss.numel() != 1 or not loss.is_floating_point():
        return None
    return float(loss.item())
