"""Raw values into a histogram, on their device and without reading it."""

from functools import lru_cache

import torch
from torch import Tensor

from trainkit.writers.protocol import Histogram

__all__ = ["bucketed"]

_PER_OCTAVE = 8
_SMALLEST, _LARGEST = -40, 40  # exponents of two
_LIMIT = torch.finfo(torch.float64).max


@lru_cache(maxsize=16)
def _edges(device: torch.device) -> Tensor:
    """Symmetric, eight to an octave from 2^-40 to 2^40, one bucket for all beyond on each side."""
    steps = range(_SMALLEST * _PER_OCTAVE, _LARGEST * _PER_OCTAVE + 1)
    positive = [2.0 ** (step / _PER_OCTAVE) for step in steps] + [_LIMIT]
    negative = [-edge for edge in reversed(positive)]
    return torch.tensor(negative + positive, dtype=torch.float64, device=device)


@torch.no_grad()
def bucketed(values: Tensor) -> Histogram:
    """Count values in fixed, symmetric, exponential buckets.

    Buckets are 9 % wide (eight to an octave) from 1e-12 to 1e12 in absolute value; what is
    smaller shares the bucket around zero, what is larger an outermost one. Fixed buckets need no
    look at the data first, and hold gradients over any range. NaN and infinity are in no bucket.

    Args:
        values: Of any shape, any real dtype; also empty.

    Returns:
        The histogram, on the values' device.

    Cost: temporary memory of about 24 bytes per value, and a binary search per value. For the
    gradients and weights of a whole model the monitors have something faster.

    Example:
        >>> import torch
        >>> histogram = bucketed(torch.tensor([1.0, 2.0, float("nan")]))
        >>> histogram.moments
        tensor([1., 2., 3., 5.], dtype=torch.float64)
        >>> int(histogram.counts.sum()), int(histogram.non_finite)
        (2, 1)
    """
    wide = values.detach().reshape(-1).double()
    edges = _edges(wide.device)
    buckets = edges.numel() - 1
    finite = wide.isfinite()
    inside = (torch.bucketize(wide, edges, right=True) - 1).clamp_(0, buckets - 1)
    # Non-finite values are counted in one more bucket, so that nothing depends on the data.
    index = torch.where(finite, inside, buckets)
    counts = torch.zeros(buckets + 1, dtype=torch.int64, device=wide.device)
    counts.index_add_(0, index, torch.ones_like(index))
    return Histogram(counts[:buckets], edges, _moments(wide, finite), counts[buckets])


def _moments(wide: Tensor, finite: Tensor) -> Tensor:
    if wide.numel() == 0:
        return wide.new_zeros(4)
    low = torch.where(finite, wide, torch.inf).amin()
    high = torch.where(finite, wide, -torch.inf).amax()
    kept = torch.where(finite, wide, 0.0)
    moments = torch.stack([low, high, kept.sum(), kept.square().sum()])
    return torch.where(finite.any(), moments, 0.0)
