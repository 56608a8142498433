"""L2 norms of many tensors together."""

from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor

from trainkit.stats.cpu.loops import loops
from trainkit.stats.cpu.sizes import plain_sizes, sizes_of
from trainkit.stats.tensors.elements import elements_and_sizes, partitions, power_of_two
from trainkit.stats.tensors.readable import UnreadableError
from trainkit.stats.tensors.rows import Rows, row_norms

__all__ = ["global_norm", "norms", "norms_on_cpu"]

# On a CPU torch adds up the squares of float32 elements in float32. The relative error of the norm
# was at most 5e-7 with 4,096 elements, 8e-6 with 16,384, 2e-4 with 262,144 and 2e-3 with 50 million
# (torch 2.13). Larger tensors are taken in rows.
_EXACT_SIZE = 2**12
# Between these a norm has lost nothing to underflow or overflow of its squares.
_SAFE = (1e-13, 1e17)


def norms(tensors: Sequence[Tensor]) -> Tensor:
    """The L2 norm of each tensor, sqrt(Σ |x|²); 0 for one without elements.

    With a NaN or infinite element the norm is NaN or infinite. Half precision is summed in
    float32. In main memory elements may be of any size; on a device a float32 norm is exact to
    rounding if the elements that matter are between 1e-19 and 1e19 (their squares must be float32
    numbers).

    Args:
        tensors: Any shapes, dtypes and layouts.

    Returns:
        Shape `[len(tensors)]`, float32 (float64 if there is any float64), on the first tensor's
        device.

    Cost:
        One pass and, per device and dtype, one foreach launch.

    Example:
        >>> norms([torch.tensor([3.0, 4.0]), torch.tensor(2.0), torch.empty(0)])
        tensor([5., 2., 0.])
    """
    if not tensors:
        return torch.zeros(0)
    compiled = loops().norm_rows
    sizes = plain_sizes(tensors) if compiled else None
    if compiled and sizes is not None:
        with suppress(UnreadableError):
            return compiled(tensors, sizes)
    values, _ = elements_and_sizes(tensors)
    groups = list(partitions(values))
    if len(groups) == 1 and len(groups[0][0]) == len(values):
        return _norms(values)
    dtype = torch.float64 if any(v.dtype is torch.float64 for v in values) else torch.float32
    result = torch.zeros(len(values), dtype=dtype, device=values[0].device)
    for positions, members in groups:
        found = _norms(members).to(result)
        result[torch.tensor(positions, device=result.device)] = found
    return result


@torch.no_grad()
def _norms(members: list[Tensor]) -> Tensor:
    if members[0].device.type != "cpu":
        return torch.stack(torch._foreach_norm(members, 2))
    compiled = loops().norm_rows
    return compiled(members, sizes_of(members)) if compiled else norms_on_cpu(members)


@torch.no_grad()
def norms_on_cpu(tensors: Sequence[Tensor]) -> Tensor:
    """The norms of dense tensors in main memory, of one dtype, all with elements, `[n]`."""
    sizes = list(map(Tensor.numel, tensors))
    if max(sizes) <= _EXACT_SIZE:
        found = torch.stack(torch._foreach_norm(list(tensors), 2))
    else:
        found = _norms_by_rows(tensors, sizes)
    least, most = found.aminmax()
    if _SAFE[0] < float(least) and float(most) < _SAFE[1]:
        return found
    unsafe = ((found > _SAFE[0]) & (found < _SAFE[1])).logical_not_().nonzero().flatten()
    # Also those that are 0, NaN or infinite.
    found[unsafe] = _scaled_norms([tensors[i] for i in unsafe.tolist()])
    return found


def _norms_by_rows(tensors: Sequence[Tensor], sizes: Sequence[int]) -> Tensor:
    """The squares of at most 4,096 elements are added up in float32, the rest in float64."""
    small = [i for i, size in enumerate(sizes) if size <= _EXACT_SIZE]
    large = [i for i, size in enumerate(sizes) if size > _EXACT_SIZE]
    parts: list[Tensor] = []
    lengths = [1] * len(small)
    if small:
        parts.append(torch.stack(torch._foreach_norm([tensors[i] for i in small], 2)))
    for i in large:
        rows, rest = divmod(sizes[i], _EXACT_SIZE)
        x = tensors[i].reshape(-1)
        whole = x[:-rest] if rest else x
        parts.append(torch.linalg.vector_norm(whole.view(rows, _EXACT_SIZE), 2, dim=1))
        if rest:
            parts.append(torch.linalg.vector_norm(x[-rest:])[None])
        lengths.append(rows + bool(rest))
    squares = torch.cat(parts).to(torch.float64).square_()
    sums = torch.segment_reduce(squares, "sum", lengths=torch.tensor(lengths), unsafe=True)
    found = torch.empty_like(sums)
    found[torch.tensor(small + large)] = sums.sqrt_()
    return found.to(tensors[0].dtype)


def _scaled_norms(tensors: list[Tensor]) -> Tensor:
    """The norms by way of the largest elements: for elements of any size."""
    rows = Rows(tensors)
    x = rows.matrix.to(rows.wide)
    scale = power_of_two(rows.largest(torch.maximum(x.amax(1), -x.amin(1))))
    squares = row_norms(x / scale[rows.owner, None]).square_()
    return (rows.added(squares).sqrt_() * scale).to(tensors[0].dtype)


def global_norm(norms: Tensor) -> Tensor:
    """The L2 norm over all tensors, sqrt(Σ norm²), from the norms of each.

    Example:
        >>> global_norm(torch.tensor([3.0, 4.0]))
        tensor(5.)
    """
    found: Tensor = torch.linalg.vector_norm(norms)
    return found
