"""The loss of an iteration, as far as it can be seen without asking a device."""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

__all__ = ["SECTIONS", "has_non_finite_loss", "loss_in_sight"]

# What is never NaN in a healthy training. Of a metric or a ratio it may be the right answer.
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
    if type(output) is dict or isinstance(output, Mapping):  # the first is much faster
        output = output.get("loss")
    if isinstance(output, Tensor):
        if not output.is_cpu or output.numel() != 1 or not output.is_floating_point():
            return None
        if output.requires_grad or output.is_neg():
            output = output.detach().resolve_neg()
        if output.element_size() < 4:  # NumPy has no bf16
            output = output.float()
        # Its own memory, seen as NumPy's: nothing is launched, and there is no device to wait for.
        return float(output.numpy().item())
    return output if isinstance(output, float) else None


def has_non_finite_loss(output: Any) -> bool:
    """Whether the loss of a step can be seen from here (`loss_in_sight`), and is NaN or infinite.

    Example:
        >>> import torch
        >>> has_non_finite_loss({"loss": torch.tensor(torch.nan)}), has_non_finite_loss(2.0)
        (True, False)
    """
    loss = loss_in_sight(output)
    return loss is not None and not math.isfinite(loss)
