"""Copies of tensors in main memory, and how far the tensors are from them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from trainkit.stats.cpu.loops import Sizes
from trainkit.stats.cpu.numpy.norms import norm_rows_of_owned
from trainkit.stats.tensors.readable import check_owned

__all__ = ["copy_rows", "distance_rows"]


def copy_rows(tensors: Sequence[Tensor], sizes: Sizes) -> Tensor:
    """The elements of tensors of one dtype, end to end."""
    check_owned(tensors)
    with torch.no_grad():
        return torch.cat([tensor.reshape(-1) for tensor in tensors])


def distance_rows(before: Tensor, after: Sequence[Tensor], sizes: Sizes) -> Tensor:
    """Norms of the differences, and of what `copy_rows` made before, `[2, n]`."""
    check_owned(after)
    with torch.no_grad():
        flat = [tensor.reshape(-1) for tensor in after]
        pieces = torch.split(before, list(sizes))
        moved = torch._foreach_sub(flat, pieces)
        return torch.stack((norm_rows_of_owned(moved, sizes), norm_rows_of_owned(pieces, sizes)))
