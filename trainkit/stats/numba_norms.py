"""L2 norms of tensors in main memory: one pass, compiled."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainkit.stats.numba_loops import array_at, compiled, kind, places

__all__ = ["HIGH", "LOW", "norm_rows", "returned", "scaled_norm"]

# Between these a sum of squares of float64 numbers has lost nothing to underflow or overflow of
# its terms; of float32 numbers none is ever lost.
LOW, HIGH = 1e-280, 1e300


def norm_rows(tensors: Sequence[Tensor]) -> Tensor:
    """The norms of tensors of one dtype that all have elements, `[n]`."""
    tensors = [tensor.contiguous() for tensor in tensors]
    found = np.empty(len(tensors), np.float64)
    _norms(*places(tensors), kind(tensors), found)
    return returned(tensors[0].dtype, found)


def returned(dtype: torch.dtype, found: Any) -> Tensor:
    """Numbers in the dtype of the tensors that they are of."""
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
        if not LOW < squares < HIGH and like.itemsize == 8:
            found[k] = scaled_norm(x, x, False)


@compiled
def scaled_norm(x: Any, y: Any, between: bool) -> float:
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
