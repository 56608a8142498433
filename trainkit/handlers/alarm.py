"""The loss of an iteration, as far as it can be seen without asking a device."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["SECTIONS", "loss_in_sight"]

# What is never NaN in a healthy training. Of a metric or a ratio it may be the right answer.
SECTIONS = ("loss/", "gradients/", "weights/")

_IN_NUMPY = (torch.float32, torch.float64)


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
    if type(output) is dict or isinstance(output, Mapping):  # the first is much faster
        output = output.get("loss")
    if not isinstance(output, Tensor):
        return output if isinstance(output, float) else None
    if not output.is_cpu or output.numel() != 1:
        return None
    if output.dtype not in _IN_NUMPY:
        if not output.is_floating_point():
            return None
        output = output.float()
    if output.requires_grad:
        output = output.detach()
    # Its own memory, seen as NumPy's: nothing is launched, and there is no device to wait for.
    return float(output.numpy().item())
