"""L2 norms, and distances, of tensors in main memory: one pass, compiled."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainkit.stats.numba_loops import array_at, compiled, kind, places

__all__ = ["distance_rows", "norm_rows"]

# Between these a sum of squares of float64 numbers has lost nothing to underflow or overflow of
# its terms; of float32 numbers none is ever lost.
_LOW, _HIGH = 1e-280, 1e300


def norm_rows(tensors: Sequence[Tensor]) -> Tensor:
    """The norms of tensors of one dtype that all have elements, `[n]`."""
    tensors = [tensor.contiguous() for tensor in tensors]
    found = np.empty(len(tensors), np.float64)
    _norms(*places(tensors), kind(tensors), found)
    return _in(tensors[0].dtype, found)


def distance_rows(before: Sequence[Tensor], after: Sequence[Tensor]) -> Tensor:
    """Norms of the differences, and of `before`; tensors of one dtype with elements, `[2, n]`."""
    before = [tensor.contiguous() for tensor in before]
    after = [tensor.contiguous() for tensor in after]
    found = np.empty((2, len(before)), np.float64)
    addresses, sizes = places(before)
    _distances(addresses, places(after)[0], sizes, kind(before), found)
    return _in(before[0].dtype, found)


def _in(dtype: torch.dtype, found: Any) -> Tensor:
    # float64 numbers may be more than float32 holds, and that is no fault.
    with np.errstate(over="ignore"):
        return torch.from_numpy(found if dtype is torch.float64 else found.astype(np.float32))


@compiled
def _norms(addresses: Any, sizes: Any, like: Any, found: Any) -> None:
    for k in range(addresses.size):
        x = array_at(addresses[k], sizes[k], like.dtype)
        squares = 0.0
        for i in range(x.size):
            v = np.float64(x[i])
            squares += v * v
        found[k] = np.sqrt(squares)
        if not _LOW < squares < _HIGH and like.itemsize == 8:
            found[k] = _scaled_norm(x, x, False)


@compiled
def _distances(addresses: Any, others: Any, sizes: Any, like: Any, found: Any) -> None:
    for k in range(addresses.size):
        x = array_at(addresses[k], sizes[k], like.dtype)
        y = array_at(others[k], sizes[k], like.dtype)
        squares = 0.0
        moved = 0.0
        for i in range(x.size):
            v = np.float64(x[i])
            d = np.float64(y[i]) - v
            squares += v * v
            moved += d * d
        found[0, k] = np.sqrt(moved)
        found[1, k] = np.sqrt(squares)
        if like.itemsize == 8:
            if not _LOW < moved < _HIGH:
                found[0, k] = _scaled_norm(x, y, True)
            if not _LOW < squares < _HIGH:
                found[1, k] = _scaled_norm(x, y, False)


@compiled
def _scaled_norm(x: Any, y: Any, between: bool) -> float:
    """The norm of x, or of y - x, by way of the largest element; for numbers of any size."""
    largest = 0.0
    for i in range(x.size):
        v = abs(np.float64(y[i]) - np.float64(x[i]) if between else np.float64(x[i]))
        if np.isnan(v):
            return v
        largest = max(largest, v)
    if largest == 0 or np.isinf(largest):
        return largest
    squares = 0.0
    for i in range(x.size):
        v = (np.float64(y[i]) - np.float64(x[i]) if between else np.float64(x[i])) / largest
        squares += v * v
    return np.sqrt(squares) * largest  # type: ignore[no-any-return]
