"""How many elements are no numbers."""

from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor

from trainkit.stats.cpu.loops import loops, plain_sizes
from trainkit.stats.tensors.elements import elements, partitions
from trainkit.stats.tensors.readable import UnreadableError

__all__ = ["non_finite"]


def non_finite(tensors: Sequence[Tensor]) -> Tensor:
    """The number of NaN and infinite elements of each tensor.

    Args:
        tensors: Any shapes, dtypes and layouts.

    Returns:
        int64, shape `[len(tensors)]`, on the first tensor's device.

    Cost:
        Two passes, and a copy of the tensors; in main memory one pass.

    Example:
        >>> non_finite([torch.tensor([1.0, torch.inf]), torch.tensor(0.0)])
        tensor([1, 0])
    """
    sizes = plain_sizes(tensors)
    if sizes is not None:
        with suppress(UnreadableError):
            return loops().summary_rows(tensors, sizes)[5].to(torch.int64)
    values = [elements(tensor) for tensor in tensors]
    device = values[0].device if values else torch.device("cpu")
    found = [torch.zeros((), dtype=torch.int64, device=device)] * len(values)
    for positions, members in partitions(values):
        # 0 · x is 0 for what is finite and NaN for what is not.
        for position, zeros in zip(positions, torch._foreach_mul(members, 0.0), strict=True):
            found[position] = zeros.count_nonzero().to(device)
    return torch.stack(found) if found else torch.zeros(0, dtype=torch.int64)
