"""The statistics of `summarize` for tensors in main memory."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from trainkit.stats.cpu.loops import Sizes
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
from trainkit.stats.tensors.readable import check_owned

__all__ = ["summary_rows"]

# Where the mean's share of Σ x² is less, subtracting it afterwards loses no digit that counts.
_SHARE_OF_MEAN = 0.1


def summary_rows(tensors: Sequence[Tensor], sizes: Sizes) -> Tensor:
    """The columns of `summarize` for tensors of one dtype that all have elements, `[6, n]`."""
    check_owned(tensors)
    table = np.empty((6, len(sizes)), np.float64)
    equal = np.empty(BLOCK, np.bool_)
    with np.errstate(all="ignore"):
        for position, array in large(tensors, sizes):
            table[:, position] = _summary(array, equal)
        for some in joined(tensors, sizes):
            table[:, some.positions] = _summaries(some)
        return torch.from_numpy(table.astype(np.float64 if _is_double(tensors) else np.float32))


def _is_double(tensors: Sequence[Tensor]) -> bool:
    return tensors[0].dtype is torch.float64


def _summary(array: Array, equal: Array) -> tuple[float, ...]:
    """One pass over memory; in the precision of the elements where that is enough."""
    n = array.size
    one = ones(array.dtype)
    rows = [
        (
            np.maximum.reduce(block),
            np.minimum.reduce(block),
            np.dot(block, one[: block.size]),
            np.dot(block, block),
            np.count_nonzero(np.equal(block, 0, out=equal[: block.size])),
        )
        for block in blocks(array)
    ]
    if len(rows) == 1:
        high, low, total, squares, zeros = map(float, rows[0])
    else:
        columns = np.array(rows, np.float64)
        high, low = float(columns[:, 0].max()), float(columns[:, 1].min())
        total, squares, zeros = columns[:, 2:].sum(0).tolist()
    max_abs = max(high, -low)
    if max_abs == 0:
        return 0.0, 0.0, 0.0, 0.0, zeros / n, 0
    if SAFE[0] < max_abs < SAFE[1] and total * total < _SHARE_OF_MEAN * n * squares:
        variance = (squares - total * total / n) / n
        return math.sqrt(squares), total / n, math.sqrt(variance), max_abs, zeros / n, 0
    norm, mean, std, bad = _precise(array, max_abs, total / n)
    return norm, mean, std, max_abs, zeros / n, bad


def _precise(array: Array, max_abs: float, about: float) -> tuple[float, float, float, int]:
    """Norm, mean, std and non-finite count: scaled, around the mean, in float64."""
    n, scale = array.size, float(scale_of(max_abs))
    about = about / scale if math.isfinite(about) else 0.0
    sums = np.zeros(3)
    bad = 0
    for block in blocks(array):
        x = block.astype(np.float64) / scale
        around = x - about
        sums += np.vdot(x, x), around.sum(), np.vdot(around, around)
        if not math.isfinite(max_abs):
            bad += block.size - int(np.count_nonzero(np.isfinite(block)))
    squares, off, spread = sums / n
    norm, std = np.sqrt(squares * n), np.sqrt(np.maximum(spread - off * off, 0.0))
    return norm * scale, (about + off) * scale, std * scale, bad


def _summaries(some: Joined) -> Array:
    """The columns of many small tensors: in float64, for they are small."""
    starts, n, values = some.starts, some.sizes, some.values
    high, low = np.maximum.reduceat(values, starts), np.minimum.reduceat(values, starts)
    max_abs = np.maximum(high, -low).astype(np.float64)
    x = values.astype(np.float64)
    scale = scale_of(max_abs)
    if values.dtype == np.float64:  # squares of float32 numbers are floats here as they are
        x /= some.spread(scale)
    else:
        scale = np.ones_like(scale)
    squares = np.add.reduceat(x * x, starts)
    mean = np.add.reduceat(x, starts) / n
    x -= some.spread(mean)
    variance = np.add.reduceat(x * x, starts) / n
    zeros = np.add.reduceat(values == 0, starts, dtype=np.int64)
    bad = np.zeros(n.size)
    if not np.isfinite(max_abs).all():
        bad += np.add.reduceat(~np.isfinite(values), starts, dtype=np.int64)
    found = np.sqrt(squares) * scale, mean * scale, np.sqrt(variance) * scale
    return np.array((*found, max_abs, zeros / n, bad))
