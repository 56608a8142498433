"""L2 norms of tensors in main memory: one pass, compiled."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainkit.stats.cpu.numba.compiling import (
    AHEAD,
    array_at,
    compiled,
    fetch,
    kind,
    places,
)
from trainkit.stats.cpu.sizes import Sizes

__all__ = ["HIGH", "LOW", "norm_rows", "scaled_norm"]

# Between these a sum of squares of float64 numbers has lost nothing to underflow or overflow of
# its terms; of float32 numbers none is ever lost.
LOW, HIGH = 1e-280, 1e300


def norm_rows(tensors: Sequence[Tensor], sizes: Sizes) -> Tensor:
    """The norms of tensors of one dtype that all have elements, `[n]`."""
    at, _held = places(tensors, sizes, signed=False)
    found = np.empty(len(tensors), kind(tensors).dtype)
    _norms(*at, found)
    return torch.from_numpy(found)


@compiled
def _norms(addresses: Any, sizes: Any, found: Any) -> None:
    for k in range(addresses.size):
        x = array_at(addresses[k], sizes[k], found.dtype)
        squares = 0.0
        for start in range(0, x.size, AHEAD):
            fetch(x, start + AHEAD)
            here = x[start : start + AHEAD]
            for i in range(here.size):
                v = np.float64(here[i])
                squares += v * v
        found[k] = np.sqrt(squares)
        if not LOW < squares < HIGH and found.itemsize == 8:
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
