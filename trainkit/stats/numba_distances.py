"""Copies of tensors in main memory, and how far the tensors are from them: one pass, compiled."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainkit.stats.numba_loops import array_at, compiled, places
from trainkit.stats.numba_norms import HIGH, LOW, returned, scaled_norm

__all__ = ["copy_rows", "distance_rows"]


def copy_rows(tensors: Sequence[Tensor]) -> Tensor:
    """The elements of tensors of one dtype, end to end."""
    tensors = [tensor.contiguous() for tensor in tensors]
    addresses, sizes = places(tensors)
    flat = torch.empty(int(sizes.sum()), dtype=tensors[0].dtype)
    _copy(addresses, sizes, flat.numpy())
    return flat


def distance_rows(before: Tensor, after: Sequence[Tensor]) -> Tensor:
    """Norms of the differences, and of what `copy_rows` made before, `[2, n]`."""
    after = [tensor.contiguous() for tensor in after]
    found = np.empty((2, len(after)), np.float64)
    _distances(*places(after), before.numpy(), found)
    return returned(before.dtype, found)


@compiled
def _copy(addresses: Any, sizes: Any, flat: Any) -> None:
    start = 0
    for k in range(addresses.size):
        flat[start : start + sizes[k]] = array_at(addresses[k], sizes[k], flat.dtype)
        start += sizes[k]


@compiled
def _distances(addresses: Any, sizes: Any, before: Any, found: Any) -> None:
    start = 0
    for k in range(addresses.size):
        x = before[start : start + sizes[k]]
        y = array_at(addresses[k], sizes[k], before.dtype)
        start += sizes[k]
        squares = 0.0
        moved = 0.0
        for i in range(x.size):
            v = np.float64(x[i])
            d = np.float64(y[i]) - v
            squares += v * v
            moved += d * d
        found[0, k] = np.sqrt(moved)
        found[1, k] = np.sqrt(squares)
        if before.itemsize == 8:
            if not LOW < moved < HIGH:
                found[0, k] = scaled_norm(x, y, True)
            if not LOW < squares < HIGH:
                found[1, k] = scaled_norm(x, y, False)
