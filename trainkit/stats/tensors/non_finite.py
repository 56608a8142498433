"""The number of elements that are NaN or infinite."""

from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor

from trainkit.stats.cpu.loops import loops
from trainkit.stats.cpu.sizes import plain_sizes
from trainkit.stats.tensors.elements import elements_and_sizes, partitions
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
    compiled = loops().summary_rows
    sizes = plain_sizes(tensors) if compiled else None
    if compiled and sizes is not None:
        with suppress(UnreadableError):
            return compiled(tensors, sizes)[5].to(torch.int64)
    values, _ = elements_and_sizes(tensors)
    device = values[0].device if values else torch.device("cpu")
    found = [torch.zeros((), dtype=torch.int64, device=device)] * len(values)
    for positions, members in partitions(values):
        # 0 · x is 0 for finite elements and NaN for the others.
        with torch.no_grad():
            products = torch._foreach_mul(members, 0.0)
        for position, product in zip(positions, products, strict=True):
            found[position] = product.count_nonzero().to(device)
    return torch.stack(found) if found else torch.zeros(0, dtype=torch.int64)
