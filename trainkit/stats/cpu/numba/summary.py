"""The statistics of `summarize` for tensors in main memory: one pass, compiled."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainkit.stats.cpu.numba.compiling import (
    AHEAD,
    BITS,
    array_at,
    compiled,
    fetch,
    kind,
    places,
)
from trainkit.stats.cpu.sizes import Sizes

__all__ = ["summary_rows"]

# Where the variance is a smaller share of the mean square, it is taken around the mean.
_SHARE = 1e-6
# A sum of squares between these has lost nothing to underflow or overflow of its terms.
_LOW, _HIGH = 1e-280, 1e300


def summary_rows(tensors: Sequence[Tensor], sizes: Sizes) -> Tensor:
    """The columns of `summarize` for tensors of one dtype that all have elements, `[6, n]`."""
    at, _held = places(tensors, sizes)
    bits = BITS[tensors[0].dtype]
    table = np.empty((6, len(tensors)), kind(tensors).dtype)
    _summaries(*at, bits, table, table.view(bits.dtype))
    return torch.from_numpy(table)


@compiled
def _summaries(addresses: Any, sizes: Any, bits: Any, table: Any, words_of_table: Any) -> None:
    mask, infinite = bits[0], bits[1]
    for k in range(addresses.size):
        n = sizes[k]
        values = array_at(addresses[k], n, table.dtype)
        words = array_at(addresses[k], n, bits.dtype)
        total = squares = 0.0
        zeros = 0
        top = mask & 0  # as integers, magnitudes have the order that they have as numbers
        for start in range(0, n, AHEAD):
            size = min(n - start, AHEAD)
            x, word = values[start : start + size], words[start : start + size]
            fetch(values, start + AHEAD)
            for i in range(size):
                v = np.float64(x[i])
                total += v
                squares += v * v
            for i in range(size):
                magnitude = word[i] & mask
                top = max(top, magnitude)
                zeros += magnitude == 0
        mean, square, scale = total / n, squares / n, 1.0
        variance = square - mean * mean
        lost = table.itemsize == 8 and not _LOW < squares < _HIGH
        if top > 0 and (lost or not variance > _SHARE * square):
            mean, square, variance, scale = _careful(values, top < infinite)
        table[0, k] = np.sqrt(square * n) * scale
        table[1, k] = mean * scale
        table[2, k] = np.sqrt(variance) * scale
        words_of_table[3, k] = top
        table[4, k] = zeros / n
        bad = 0
        if top >= infinite:
            for i in range(n):
                bad += (words[i] & mask) >= infinite
        table[5, k] = bad


@compiled
def _careful(x: Any, finite: bool) -> Any:
    """Mean, mean square and variance of x / scale, and the scale: of numbers of any size."""
    n = x.size
    scale = 1.0
    if finite and x.itemsize == 8:
        scale = 0.0
        for i in range(n):
            scale = max(scale, abs(x[i]))
    total = squares = 0.0
    for i in range(n):
        v = x[i] / scale
        total += v
        squares += v * v
    mean = total / n
    spread = 0.0
    for i in range(n):
        d = x[i] / scale - mean
        spread += d * d
    return mean, squares / n, spread / n, scale
