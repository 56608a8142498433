"""Mean and variance of one tensor in main memory, in one pass of NumPy's dot products."""

import math

import numpy as np
from torch import Tensor

from trainkit.stats.cpu.numpy.arrays import BLOCK, SAFE, Array, blocks, ones

__all__ = ["moments"]

# The deviations from a point that is so many standard deviations away lose a digit, and no more.
_NEAR = 3.0


def moments(y: Tensor) -> tuple[float, float]:
    """Mean and variance of the elements of a float32 or float64 tensor that has some."""
    array: Array = y.numpy().ravel(order="K")
    with np.errstate(all="ignore"):
        # Of the first block's mean, which is near that of all, or of none at all.
        about = array[:BLOCK].mean(dtype=np.float64).astype(array.dtype)
        total, squares = _around(array, about)
        off, spread = total / array.size, squares / array.size
        variance = spread - off * off
        if not (SAFE[0] < spread < SAFE[1] and off * off <= _NEAR**2 * variance):
            return _precise(array)
    return float(about) + off, variance


def _around(array: Array, about: Array) -> tuple[float, float]:
    one, room = ones(array.dtype), np.empty(min(array.size, BLOCK), array.dtype)
    total = squares = 0.0
    for block in blocks(array):
        deviations = np.subtract(block, about, out=room[: block.size])
        total += float(np.dot(deviations, one[: block.size]))
        squares += float(np.dot(deviations, deviations))
    return total, squares


def _precise(array: Array) -> tuple[float, float]:
    """In float64, around the mean itself: of numbers of any size."""
    mean = float(array.mean(dtype=np.float64))
    if not math.isfinite(mean):
        return mean, math.nan
    total = squares = 0.0
    for block in blocks(array):
        deviations = block - mean if block.itemsize == 8 else block.astype(np.float64) - mean
        total += float(deviations.sum())
        squares += float(np.dot(deviations, deviations))
    off = total / array.size
    return mean + off, max(squares / array.size - off * off, 0.0)
