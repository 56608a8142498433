"""What one looks at in a gradient or a weight: its size, its spread, and what is wrong with it."""

from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor

from trainkit.stats.cpu.loops import loops, plain_sizes, sizes_of
from trainkit.stats.tensors.elements import chunks, elements_and_sizes, partitions, power_of_two
from trainkit.stats.tensors.readable import UnreadableError

__all__ = ["COLUMNS", "summarize", "summary_table"]

COLUMNS = ("norm", "mean", "std", "max_abs", "zero_fraction", "non_finite")


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
    sizes = plain_sizes(tensors)
    if sizes is not None:
        with suppress(UnreadableError):
            return loops().summary_rows(tensors, sizes)
    values, counts = elements_and_sizes(tensors)
    dtype = torch.float64 if any(v.dtype is torch.float64 for v in values) else torch.float32
    device = values[0].device if values else torch.device("cpu")
    table = torch.zeros(len(COLUMNS), len(values), dtype=dtype, device=device)
    stored = [v.numel() for v in values]
    for positions, members in partitions(values):
        if members[0].device.type == "cpu":
            found = loops().summary_rows(members, sizes_of(members)).to(table)
        else:
            found = torch.cat([_summarize(members[some]) for some in chunks(members)], dim=1).to(
                table
            )
        if len(positions) == len(values):
            table = found
        else:
            table[:, torch.tensor(positions, device=device)] = found
    if counts != stored or 0 in counts:
        table = _with_implicit_zeros(table, stored, counts)
    return table


def _summarize(tensors: list[Tensor]) -> Tensor:
    """The columns of tensors of one device and dtype that all have elements, `[6, n]`."""
    extremes = [tensor.aminmax() for tensor in tensors]
    least, most = (torch.stack(side) for side in zip(*extremes, strict=True))
    max_abs = torch.maximum(most, -least)
    n = torch.tensor([t.numel() for t in tensors], dtype=max_abs.dtype).to(max_abs.device)
    scale = power_of_two(max_abs)
    scaled = torch._foreach_div(tensors, list(scale.unbind()))
    norm = torch.stack(torch._foreach_norm(scaled, 2)) * scale
    mean = torch.stack([t.sum() for t in scaled]) / n
    torch._foreach_sub_(scaled, list(mean.unbind()))
    std = torch.stack(torch._foreach_norm(scaled, 2)) / n.sqrt() * scale
    nonzero = torch.stack([t.count_nonzero() for t in tensors])
    # 0 · x is 0 for what is finite and NaN for what is not.
    torch._foreach_copy_(scaled, tensors)
    torch._foreach_mul_(scaled, 0.0)
    non_finite = torch.stack([t.count_nonzero() for t in scaled])
    return torch.stack((norm, mean * scale, std, max_abs, 1 - nonzero / n, non_finite.to(norm)))


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
