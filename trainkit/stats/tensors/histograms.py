"""Histograms of many tensors together."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from trainkit.stats.cpu.loops import loops
from trainkit.stats.cpu.sizes import sizes_of
from trainkit.stats.precision import wide
from trainkit.stats.tensors.elements import elements, partitions, power_of_two

__all__ = ["HistogramTable", "histograms", "histograms_on_device"]

BUCKETS = 64


class HistogramTable(NamedTuple):
    """What `histograms` returns: a row per tensor; see there."""

    counts: Tensor
    edges: Tensor
    moments: Tensor
    non_finite: Tensor


def histograms(tensors: Sequence[Tensor], buckets: int = BUCKETS) -> HistogramTable:
    """Bucket counts between the smallest and the largest finite element of each tensor.

    The buckets of one tensor are of equal width, (max − min) / B, which is how TensorBoard draws
    them. NaN and infinite elements are in no bucket and in no moment, but counted. Where all
    elements are the same they are in the first bucket. Half precision is taken in float32,
    complex elements by their magnitudes; the zeros that a sparse tensor does not store are left
    out.

    Args:
        tensors: Any shapes, dtypes and layouts.
        buckets: B, from 1 to 65,000.

    Returns:
        counts: int64, `[N, B]`.
        edges: float64, `[N, B + 1]`, ascending.
        moments: float64, `[N, 4]`: minimum, maximum, sum and sum of squares of the finite
            elements; zero where there is none.
        non_finite: int64, `[N]`.

    Raises:
        ValueError: A number of buckets out of range.

    Cost:
        About ten passes, and a copy of the largest tensor; in main memory of 64 Ki elements.

    Example:
        >>> found = histograms([torch.tensor([0.0, 1.0, 4.0, torch.nan])], buckets=2)
        >>> found.counts, found.edges, found.non_finite
        (tensor([[2, 1]]), tensor([[0., 2., 4.]], dtype=torch.float64), tensor([1]))
    """
    if not 1 <= buckets <= 65_000:
        raise ValueError(f"buckets must be from 1 to 65,000, got {buckets}")
    values = [elements(tensor) for tensor in tensors]
    device = values[0].device if values else torch.device("cpu")
    n = len(values)
    # float64 where the device has it: the edges of a float32 tensor must differ from each other.
    dtype = wide(device)
    counts = torch.zeros(n, buckets, dtype=torch.int64, device=device)
    table = torch.zeros(n, 6, dtype=dtype, device=device)
    for positions, members in partitions(values):
        if members[0].device.type == "cpu":
            found = loops().histogram_rows(members, sizes_of(members), buckets)
        else:
            found = histograms_on_device(members, buckets)
        index = torch.tensor(positions, device=device)
        counts_found, table_found = found
        counts[index] = counts_found.to(counts)
        table[index] = table_found.to(table)
    table[:, 2] += (table[:, 2] == 0).to(dtype)  # those without elements: edges ascend there too
    least, most, width, mean, squares, finite = table.unbind(1)
    steps = torch.linspace(0, 1, buckets + 1, dtype=dtype, device=device)
    edges = least[:, None] + width[:, None] * steps
    moments = torch.stack((least, most, mean * finite, squares), dim=1)
    sizes = torch.tensor([v.numel() for v in values], dtype=torch.int64).to(device)
    return HistogramTable(counts, edges, moments, sizes - finite.to(torch.int64))


def histograms_on_device(members: list[Tensor], buckets: int) -> tuple[Tensor, Tensor]:
    """The rows of tensors of one device and dtype that all have elements; see `_histogram`."""
    rows = [_histogram(member, buckets) for member in members]
    return torch.stack([row for row, _ in rows]), torch.stack([row for _, row in rows])


def _histogram(x: Tensor, buckets: int) -> tuple[Tensor, Tensor]:
    """Counts, and (min, max, width of all buckets, mean, sum of squares, finite elements)."""
    # 0 · x is NaN where x is not finite: a comparison with it fails.
    finite = x * 0 == 0
    count = finite.sum()
    x = x.where(finite, torch.nan)
    low = x.where(x == x, torch.inf).amin()
    high = x.where(x == x, -torch.inf).amax()
    some = count > 0
    low, high = low.where(some, 0), high.where(some, 0)
    scale = power_of_two(torch.maximum(high.abs(), low.abs()))
    scaled = x / scale
    low, high = low / scale, high / scale
    width = (high - low).where(high > low, 1)
    counts = torch.histc((scaled - low) / width, buckets, 0, 1)
    zeroed = scaled.nan_to_num(0.0)
    mean = zeroed.sum() / count.clamp(min=1)
    # In float64 from here on: the width of [-3e38, 3e38] is no float32.
    dtype = wide(x.device)
    row = torch.stack((low, high, width, mean, torch.linalg.vector_norm(zeroed))).to(dtype) * scale
    row[4] **= 2
    return counts, torch.cat((row, count.to(dtype)[None]))
