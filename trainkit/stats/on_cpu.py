"""The same statistics for tensors in main memory, through NumPy.

On a CPU a launch costs more than the work it does on a small tensor, and a temporary tensor costs
more than the pass that fills it. NumPy's reductions need neither: measured over the 150 gradients
of a small transformer, a fraction of the time (`benchmarks/statistics.py`). Nothing leaves a
device here, for there is none; on any other device the torch version is used, and the tests hold
the two against each other.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["histogram_rows", "summary_rows"]

# Squares of elements in this range are ordinary floats, whatever the number of elements.
_SAFE = (1e-15, 1e15)


def summary_rows(tensors: list[Tensor]) -> Tensor:
    """The columns of `summarize` for tensors of one dtype that all have elements, `[6, n]`."""
    arrays = [_flat(tensor) for tensor in tensors]
    buffer = np.empty(max(a.size for a in arrays), arrays[0].dtype)
    zeros = np.empty(buffer.size, np.bool_)
    table = np.empty((6, len(arrays)), arrays[0].dtype)
    with np.errstate(all="ignore"):
        for i, a in enumerate(arrays):
            table[:, i] = _summary(a, buffer[: a.size], zeros[: a.size])
    return torch.from_numpy(table)


def _summary(a: NDArray[Any], buffer: NDArray[Any], zeros: NDArray[Any]) -> tuple[Any, ...]:
    n = a.size
    max_abs = max(a.max(), -a.min()) if n > 1 else abs(a[0])
    np.equal(a, 0, out=zeros)
    zero_fraction = np.count_nonzero(zeros) / n
    if not np.isfinite(max_abs):
        return _summary_of_non_finite(a, zero_fraction)
    if max_abs == 0:
        return 0.0, 0.0, 0.0, 0.0, zero_fraction, 0
    scale = 1.0
    if not _SAFE[0] < max_abs < _SAFE[1]:
        scale = 2.0 ** np.floor(np.log2(float(max_abs)))
        a = (a / a.dtype.type(scale)) if scale > 1e-38 else (a.astype(np.float64) / scale)
        buffer = np.empty_like(a)
    norm = np.sqrt(np.vdot(a, a))
    mean = a.sum() / n
    np.subtract(a, mean, out=buffer)
    std = np.sqrt(np.vdot(buffer, buffer) / n)
    return (
        float(norm) * scale,
        float(mean) * scale,
        float(std) * scale,
        max_abs,
        zero_fraction,
        0,
    )


def _summary_of_non_finite(a: NDArray[Any], zero_fraction: float) -> tuple[Any, ...]:
    """What a NaN or an infinity makes of everything: rare, so it may take its time."""
    max_abs = np.abs(a).max()  # NaN wins
    mean = a.mean()
    bad = a.size - np.count_nonzero(np.isfinite(a))
    return max_abs, mean, np.nan, max_abs, zero_fraction, bad


def histogram_rows(tensors: list[Tensor], buckets: int) -> tuple[Tensor, Tensor]:
    """Counts `[n, B]`, and per tensor (min, max, width, mean, sum of squares, finite elements)."""
    counts = np.zeros((len(tensors), buckets), np.int64)
    table = np.zeros((len(tensors), 6), np.float64)
    with np.errstate(all="ignore"):
        for i, tensor in enumerate(tensors):
            counts[i], table[i] = _histogram(_flat(tensor), buckets)
    return torch.from_numpy(counts), torch.from_numpy(table)


def _histogram(a: NDArray[Any], buckets: int) -> tuple[NDArray[Any], tuple[float, ...]]:
    low, high = float(a.min()), float(a.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        a = a[np.isfinite(a)]
        if a.size == 0:
            return np.zeros(buckets, np.int64), (0.0, 0.0, 1.0, 0.0, 0.0, 0)
        low, high = float(a.min()), float(a.max())
    largest = max(-low, high)
    if largest > 0 and not _SAFE[0] < largest < _SAFE[1]:
        a = a.astype(np.float64)
    width = high - low if high > low else max(abs(low), 1.0)
    index = ((a - a.dtype.type(low)) * a.dtype.type(buckets / width)).astype(np.int32)
    np.minimum(index, buckets - 1, out=index)  # the largest element, and rounding up to the edge
    row = (low, high, width, float(a.mean(dtype=np.float64)), float(np.vdot(a, a)), a.size)
    return np.bincount(index, minlength=buckets), row


def _flat(tensor: Tensor) -> NDArray[Any]:
    values: NDArray[Any] = tensor.reshape(-1).numpy()
    return values
