"""The dtype of sums over many elements."""

import torch

__all__ = ["wide"]


def wide(device: torch.device) -> torch.dtype:
    """float64 if the device has it, else float32: MPS has no float64.

    Example:
        >>> wide(torch.device("cpu"))
        torch.float64
    """
    return torch.float32 if device.type == "mps" else torch.float64
