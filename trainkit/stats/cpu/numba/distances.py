"""Copies of tensors in main memory, and how far the tensors are from them: one pass, compiled."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainkit.stats.cpu.numba.compiling import (
    AHEAD,
    array_at,
    compiled,
    copy_at,
    fetch,
    kind,
    places,
)
from trainkit.stats.cpu.numba.norms import HIGH, LOW, scaled_norm
from trainkit.stats.cpu.sizes import Sizes

__all__ = ["copy_rows", "distance_rows"]


def copy_rows(tensors: Sequence[Tensor], sizes: Sizes) -> Tensor:
    """The elements of tensors of one dtype, end to end."""
    at, _held = places(tensors, sizes)
    # NumPy asks for large pages, which are had, and given back, in a fraction of the time.
    flat = np.empty(sum(sizes), kind(tensors).dtype)
    _copy(*at, flat)
    return torch.from_numpy(flat)


def distance_rows(before: Tensor, after: Sequence[Tensor], sizes: Sizes) -> Tensor:
    """Norms of the differences, and of what `copy_rows` made before, `[2, n]`."""
    at, _held = places(after, sizes)
    found = np.empty((2, len(after)), kind(after).dtype)
    _distances(*at, before.numpy(), found)
    return torch.from_numpy(found)


@compiled
def _copy(addresses: Any, sizes: Any, flat: Any) -> None:
    to = np.int64(flat.ctypes.data)
    for k in range(addresses.size):
        size = sizes[k] * flat.itemsize
        copy_at(to, addresses[k], size)
        to += size


@compiled
def _distances(addresses: Any, sizes: Any, before: Any, found: Any) -> None:
    start = 0
    for k in range(addresses.size):
        x = before[start : start + sizes[k]]
        y = array_at(addresses[k], sizes[k], before.dtype)
        start += sizes[k]
        squares = 0.0
        moved = 0.0
        for at in range(0, x.size, AHEAD):
            fetch(x, at + AHEAD)
            fetch(y, at + AHEAD)
            then, now = x[at : at + AHEAD], y[at : at + AHEAD]
            for i in range(then.size):
                v = np.float64(then[i])
                d = np.float64(now[i]) - v
                squares += v * v
                moved += d * d
        found[0, k] = np.sqrt(moved)
        found[1, k] = np.sqrt(squares)
        if before.itemsize == 8:
            if not LOW < moved < HIGH:
                found[0, k] = scaled_norm(x, y, True)
            if not LOW < squares < HIGH:
                found[1, k] = scaled_norm(x, y, False)
