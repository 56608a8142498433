"""The rows of `histograms` for tensors in main memory: two passes, compiled."""

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
from trainkit.stats.cpu.numpy.arrays import SAFE
from trainkit.stats.cpu.numpy.histograms import RESOLUTION
from trainkit.stats.cpu.numpy.histograms import histogram_rows as unusual_rows
from trainkit.stats.cpu.sizes import Sizes, sizes_of

__all__ = ["histogram_rows"]

_BLOCK = 4096
# Counts are kept in so many tables at a time: an addition need not wait for the one before it.
_TABLES = 8
_LEAST, _MOST = SAFE


def histogram_rows(tensors: Sequence[Tensor], sizes: Sizes, buckets: int) -> tuple[Tensor, Tensor]:
    """Counts `[n, B]`, and per tensor (min, max, width, mean, sum of squares, finite elements).

    Args:
        tensors: Of one dtype, all with elements.
        sizes: Their numbers of elements.
        buckets: B, less than 65535.
    """
    at, held = places(tensors, sizes)
    counts = np.zeros((len(tensors), buckets), np.int64)
    table = np.zeros((len(tensors), 6), np.float64)
    usual = np.zeros(len(tensors), np.bool_)
    _histograms(*at, kind(tensors), BITS[tensors[0].dtype], counts, table, usual)
    if not usual.all():  # NaN, infinity, numbers whose squares are no numbers
        others = np.flatnonzero(~usual)
        unusual = [held[i] for i in others.tolist()]
        found = unusual_rows(unusual, sizes_of(unusual), buckets)
        counts[others], table[others] = (part.numpy() for part in found)
    return torch.from_numpy(counts), torch.from_numpy(table)


@compiled
def _histograms(
    addresses: Any, sizes: Any, like: Any, bits: Any, counts: Any, table: Any, usual: Any
) -> None:
    buckets = counts.shape[1]
    # One more, for the largest element and what is rounded up to its edge.
    tally = np.empty((_TABLES, buckets + 1), np.int64)
    index = np.empty(_BLOCK, np.int32)
    # Without a sign nothing need be done for numbers that count from the end.
    bucket = index.view(np.uint32)
    for k in range(addresses.size):
        n = sizes[k]
        values = array_at(addresses[k], n, like.dtype)
        low, high = _extremes(array_at(addresses[k], n, bits.dtype), like, bits)
        largest = max(np.float64(high), -np.float64(low))
        usual[k] = abs(low) < _MOST and abs(high) < _MOST and (largest > _LEAST or largest == 0)
        if not usual[k]:
            continue
        width: Any = np.float64(high) - np.float64(low)
        near = buckets * RESOLUTION * largest
        width = max(width, near) if width > 0 else max(largest, 1.0)
        factor = like.dtype.type(buckets / width)
        total = squares = 0.0
        tally[:] = 0
        for start in range(0, n, _BLOCK):
            size = min(n - start, _BLOCK)
            x = values[start : start + size]
            for i in range(size):
                v = np.float64(x[i])
                total += v
                squares += v * v
            for i in range(size):
                index[i] = np.int32((x[i] - low) * factor)
            whole = size - size % _TABLES
            for i in range(0, whole, _TABLES):
                for t in range(_TABLES):
                    tally[t, bucket[i + t]] += 1
            for i in range(whole, size):
                tally[0, bucket[i]] += 1
        for t in range(_TABLES):
            counts[k] += tally[t, :buckets]
            counts[k, buckets - 1] += tally[t, buckets]
        table[k, 0], table[k, 1], table[k, 2] = low, high, width
        table[k, 3], table[k, 4], table[k, 5] = total / n, squares, n


@compiled
def _extremes(words: Any, like: Any, bits: Any) -> Any:
    """The smallest and the largest element; NaN or infinite where some element is."""
    mask, shift = bits[0], bits[2]
    # As integers that are in the order of the numbers: many are compared at a time.
    ends = np.empty(2, words.dtype)
    ends[:] = words[0] ^ ((words[0] >> shift) & mask)
    low, high = ends
    for start in range(0, words.size, AHEAD):
        fetch(words, start + AHEAD)
        here = words[start : start + AHEAD]
        for i in range(here.size):
            key = here[i] ^ ((here[i] >> shift) & mask)
            low, high = min(low, key), max(high, key)
    ends[0] = low ^ ((low >> shift) & mask)
    ends[1] = high ^ ((high >> shift) & mask)
    return ends.view(like.dtype)
