"""Summary statistics of gradients and weights: size, spread, zeros, non-finite elements."""

from collections.abc import Callable, Sequence
from contextlib import suppress

import torch
from torch import Tensor

from trainkit.stats.cpu.loops import loops
from trainkit.stats.cpu.sizes import plain_sizes, sizes_of
from trainkit.stats.tensors.elements import (
    CHUNK_BYTES,
    chunks,
    elements_and_sizes,
    partitions,
    power_of_two,
)
from trainkit.stats.tensors.readable import UnreadableError
from trainkit.stats.tensors.rows import Rows, row_norms

__all__ = ["COLUMNS", "summarize", "summary_on_device", "summary_table"]

COLUMNS = ("norm", "mean", "std", "max_abs", "zero_fraction", "non_finite")

# In main memory a smaller copy is faster: more of it stays in the cache.
_CPU_CHUNK_BYTES = 2**23
# Squares of elements in this range, and their sums, are ordinary floats of any precision.
_SAFE = (1e-15, 1e15)
# The variance must be at least this share of the mean square.
_SPREAD_SHARE = 0.9


def summarize(tensors: Sequence[Tensor]) -> dict[str, Tensor]:
    """Norm, mean, std, largest magnitude, share of zeros and number of non-finite elements.

    norm = sqrt(Σ x²); mean = Σ x / N; std = sqrt(Σ (x − mean)² / N), the standard deviation of
    these very elements and not an estimate for others (so 0 for one element); max_abs = max |x|;
    zero_fraction = share of elements that are exactly 0; non_finite = number of NaN and infinite
    elements.

    A NaN shows: norm, mean, std and max_abs are NaN then; with an infinity norm and max_abs are
    infinite, the mean is infinite or NaN and std is NaN. Complex elements count by their
    magnitudes, the zeros that a sparse tensor does not store count, half precision is computed in
    float32. A tensor without elements has norm and max_abs 0 and mean, std and zero_fraction NaN.
    Elements are scaled before they are squared, so that neither 1e-30 nor 1e30 is lost; std is
    computed around the mean, so that it is right too where the mean is much larger.

    Args:
        tensors: Any shapes, dtypes and layouts.

    Raises:
        UnreadableError: The elements of a tensor cannot be had: see `stats.readable`.

    Returns:
        Each of shape `[len(tensors)]`, float32 (float64 if there is any float64), on the first
        tensor's device; a row per tensor, in order.

    Cost:
        Eight passes, and a copy of up to 32 MiB (or of the largest tensor) at a time; in main
        memory one pass.

    Example:
        >>> found = summarize([torch.tensor([1.0, 0.0, -3.0, 2.0]), torch.tensor(float("inf"))])
        >>> found["mean"], found["max_abs"], found["non_finite"]
        (tensor([0., inf]), tensor([3., inf]), tensor([0., 1.]))
        >>> found["zero_fraction"]
        tensor([0.2500, 0.0000])
    """
    return dict(zip(COLUMNS, summary_table(tensors).unbind(), strict=True))


def summary_table(tensors: Sequence[Tensor]) -> Tensor:
    """The statistics of `summarize` in one tensor, a row for each of `COLUMNS`, `[6, N]`."""
    compiled = loops().summary_rows
    sizes = plain_sizes(tensors) if compiled else None
    if compiled and sizes is not None:
        with suppress(UnreadableError):
            return compiled(tensors, sizes)
    values, counts = elements_and_sizes(tensors)
    dtype = torch.float64 if any(v.dtype is torch.float64 for v in values) else torch.float32
    device = values[0].device if values else torch.device("cpu")
    table = torch.zeros(len(COLUMNS), len(values), dtype=dtype, device=device)
    stored = list(map(Tensor.numel, values))
    for positions, members in partitions(values):
        if members[0].device.type != "cpu":
            found = _in_chunks(members, summary_on_device)
        elif compiled:
            found = compiled(members, sizes_of(members))
        else:
            found = _in_chunks(members, _summarize_on_cpu, _CPU_CHUNK_BYTES)
        found = found.to(table)
        if len(positions) == len(values):
            table = found
        else:
            table[:, torch.tensor(positions, device=device)] = found
    if counts != stored or 0 in counts:
        table = _with_implicit_zeros(table, stored, counts)
    return table


def _in_chunks(
    tensors: list[Tensor], function: Callable[[list[Tensor]], Tensor], size: int = CHUNK_BYTES
) -> Tensor:
    with torch.no_grad():
        return torch.cat([function(tensors[some]) for some in chunks(tensors, size)], dim=1)


def _summarize_on_cpu(tensors: list[Tensor]) -> Tensor:
    """As `summary_on_device`, with fewer passes for the usual tensors.

    Usual are those whose squares are ordinary floats, and whose mean is small beside their spread:
    then Σ (x − mean)² = Σ x² − N · mean² loses no digit that matters.
    """
    rows = Rows(tensors)
    x = rows.matrix
    nonzero = torch.ne(x, 0, out=torch.empty_like(x)).sum(1)
    per_row = torch.stack((x.sum(1), row_norms(x).square_(), nonzero), dim=1)
    total, squares, nonzero = rows.added(per_row).unbind(1)
    max_abs = rows.largest(torch.maximum(x.amax(1), x.amin(1).neg_())).to(rows.wide)
    n = rows.sizes
    mean, square = total / n, squares / n
    variance = square - mean * mean
    usual = (max_abs > _SAFE[0]) & (max_abs < _SAFE[1]) & (variance > _SPREAD_SHARE * square)
    usual |= max_abs == 0
    table = torch.stack(
        (squares.sqrt(), mean, variance.sqrt(), max_abs, 1 - nonzero / n, torch.zeros_like(n))
    ).to(x.dtype)
    others = usual.logical_not_().nonzero().flatten()
    if len(others):
        table[:, others] = summary_on_device([tensors[i] for i in others.tolist()])
    return table


def summary_on_device(tensors: list[Tensor]) -> Tensor:
    """The columns of tensors of one device and dtype that all have elements, `[6, n]`."""
    rows = Rows(tensors)
    x, n, owner = rows.matrix, rows.sizes, rows.owner
    max_abs = rows.largest(torch.maximum(x.amax(1), -x.amin(1)))
    scale = power_of_two(max_abs)
    counted = torch.ne(x, 0, out=torch.empty_like(x))
    nonzero = counted.sum(1)
    scaled = x / scale[owner, None]
    # 0 · x is 0 for finite elements and NaN for the others.
    torch.mul(scaled, 0.0, out=counted)
    non_finite = torch.ne(counted, 0, out=counted).sum(1)
    per_row = torch.stack((scaled.sum(1), row_norms(scaled), nonzero, non_finite), dim=1)
    per_row = per_row.to(rows.wide)
    per_row[:, 1].square_()
    total, squares, nonzero, non_finite = rows.added(per_row).unbind(1)
    mean = total / n
    scaled -= mean.to(x.dtype)[owner, None]
    deviations = row_norms(scaled)
    last, real = rows.last()
    deviations[last] = row_norms(scaled[last].where(real, 0))
    std = (rows.added(deviations.to(rows.wide).square_()) / n).sqrt()
    scale = scale.to(rows.wide)
    columns = squares.sqrt() * scale, mean * scale, std * scale, max_abs.to(scale)
    return torch.stack((*columns, 1 - nonzero / n, non_finite)).to(x.dtype)


def _with_implicit_zeros(table: Tensor, stored: list[int], counts: list[int]) -> Tensor:
    """The table as if every tensor stored all of its zeros; 0 / 0 where there is no element."""
    norm, mean, std, max_abs, zero_fraction, non_finite = table.unbind()
    n, k = (torch.tensor(c, dtype=table.dtype).to(table.device) for c in (counts, stored))
    share = k / n
    # Pooled with a group of zeros: mean · share, and the spread between the two groups.
    std = torch.hypot(share.sqrt() * std, (share * (1 - share)).sqrt() * mean)
    return torch.stack(
        (norm, mean * share, std, max_abs, 1 - (1 - zero_fraction) * share, non_finite)
    )
