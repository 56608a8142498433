"""The rows of `histograms` for tensors in main memory."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainkit.stats.cpu.numpy.arrays import (
    BLOCK,
    SAFE,
    Array,
    Joined,
    blocks,
    joined,
    large,
    ones,
    scale_of,
)
from trainkit.stats.cpu.sizes import Sizes
from trainkit.stats.tensors.readable import check_owned

__all__ = ["RESOLUTION", "histogram_rows"]

# From so many pairs on, counting them is worth the larger table.
_PAIRED = 2**14
# Of edges, which are float64: some of its last digits.
RESOLUTION = 2.0**-50


def histogram_rows(tensors: Sequence[Tensor], sizes: Sizes, buckets: int) -> tuple[Tensor, Tensor]:
    """Counts `[n, B]`, and per tensor (min, max, width, mean, sum of squares, finite elements).

    Args:
        tensors: Of one dtype, all with elements.
        sizes: Their numbers of elements.
        buckets: B, less than 65535.
    """
    check_owned(tensors)
    counts = np.zeros((len(sizes), buckets), np.int64)
    table = np.zeros((len(sizes), 6), np.float64)
    with np.errstate(all="ignore"):
        for i, array in large(tensors, sizes):
            counts[i], table[i] = _histogram(array, buckets)
        for some in joined(tensors, sizes):
            plain = _histograms(some, counts, table)
            for k in np.flatnonzero(~plain):
                start, i = some.starts[k], some.positions[k]
                counts[i], table[i] = _histogram(
                    some.values[start : start + some.sizes[k]], buckets
                )
    return torch.from_numpy(counts), torch.from_numpy(table)


def _histogram(array: Array, buckets: int) -> tuple[Array, tuple[float, ...]]:
    low, high = float(np.minimum.reduce(array)), float(np.maximum.reduce(array))
    if not (np.isfinite(low) and np.isfinite(high)):
        array = array[np.isfinite(array)]
        if array.size == 0:
            return np.zeros(buckets, np.int64), (0.0, 0.0, 1.0, 0.0, 0.0, 0)
        low, high = float(array.min()), float(array.max())
    scale = 1.0
    if not SAFE[0] < max(-low, high) < SAFE[1]:
        # [-3e38, 3e38] is wider than any float32, [-1e308, 1e308] than any float.
        scale = float(scale_of(max(-low, high)))
        array = array.astype(np.float64) / scale
        low, high = low / scale, high / scale
    width = float(_width(low, high, buckets))
    counts, total, squares = _counted(array, low, buckets / width, buckets)
    mean = total / array.size * scale
    row = (low * scale, high * scale, width * scale, mean, squares * scale * scale, array.size)
    return counts, row


def _width(low: Any, high: Any, buckets: int) -> Any:
    """Of all buckets together: enough for their edges to differ, where all elements are near."""
    largest = np.maximum(-low, high)
    near = np.maximum(high - low, buckets * RESOLUTION * largest)
    return np.where(high > low, near, np.maximum(largest, 1.0))


def _counted(array: Array, low: float, factor: float, buckets: int) -> tuple[Array, float, float]:
    """How many elements are in each bucket; their sum, and that of their squares."""
    kind: Any = array.dtype.type
    one = ones(array.dtype)
    scratch = np.empty(min(array.size, BLOCK), array.dtype)
    index = np.empty(scratch.size, np.uint16)
    # One more, for the largest element and what is rounded up to its edge.
    counts = np.zeros(buckets + 1, np.int64)
    total = squares = 0.0
    for block in blocks(array):
        n = block.size
        total += float(np.dot(block, one[:n]))
        squares += float(np.dot(block, block))
        np.subtract(block, kind(low), out=scratch[:n])
        np.multiply(scratch[:n], kind(factor), out=scratch[:n])
        np.copyto(index[:n], scratch[:n], casting="unsafe")
        counts += _tally(index[:n], counts.size)
    counts[-2] += counts[-1]
    return counts[:-1], total, squares


def _tally(index: Array, size: int) -> Array:
    """How often each number below `size` occurs; `index` is used up."""
    half = index.size // 2
    if half < _PAIRED or size * size > 2**16:
        return np.bincount(index, minlength=size)
    # Two numbers are counted at a time, so that there is half as much to count.
    pairs, second = index[:half], index[half : 2 * half]
    np.multiply(pairs, size, out=pairs)
    np.add(pairs, second, out=pairs)
    table = np.bincount(pairs, minlength=size * size).reshape(size, size)
    counts: Array = table.sum(0) + table.sum(1)
    counts[index[2 * half :]] += 1
    return counts


def _histograms(some: Joined, counts: Array, table: Array) -> Array:
    """Fill in the rows of small tensors, but for those with unusual elements; which these are."""
    starts, n, k = some.starts, some.sizes, len(some.positions)
    low = np.minimum.reduceat(some.values, starts).astype(np.float64)
    high = np.maximum.reduceat(some.values, starts).astype(np.float64)
    largest = np.maximum(-low, high)
    plain: Array = ((largest > SAFE[0]) & (largest < SAFE[1])) | (largest == 0)
    # Whatever the others come to is written over.
    low, high = np.where(plain, low, 0.0), np.where(plain, high, 0.0)
    width = _width(low, high, counts.shape[1])
    x = some.values.astype(np.float64)
    if not plain.all():
        x = np.nan_to_num(x)
    squares, mean = np.add.reduceat(np.square(x), starts), np.add.reduceat(x, starts) / n
    buckets = counts.shape[1]
    x = (x - some.spread(low)) * some.spread(buckets / width)
    index = np.clip(x, 0, buckets - 1).astype(np.int64) + some.spread(np.arange(k) * buckets)
    counts[some.positions] = np.bincount(index, minlength=k * buckets).reshape(k, buckets)
    table[some.positions] = np.stack((low, high, width, mean, squares, n), axis=1)
    return plain
