"""L2 norms of many tensors together."""

from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor

from trainkit.stats.cpu.loops import loops, plain_sizes, sizes_of
from trainkit.stats.tensors.elements import elements, partitions
from trainkit.stats.tensors.readable import UnreadableError

__all__ = ["global_norm", "norms"]


def norms(tensors: Sequence[Tensor]) -> Tensor:
    """The L2 norm of each tensor, sqrt(Σ |x|²); 0 for one without elements.

    A NaN or infinite element shows: the norm is then NaN or infinite. Half precision is summed in
    float32. In main memory elements of any size count; on a device a float32 norm is exact to
    rounding while the elements that matter lie between 1e-19 and 1e19 (their squares must be
    floats).

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
    sizes = plain_sizes(tensors)
    if sizes is not None:
        with suppress(UnreadableError):
            return loops().norm_rows(tensors, sizes)
    values = [elements(tensor) for tensor in tensors]
    groups = list(partitions(values))
    if len(groups) == 1 and len(groups[0][0]) == len(values):
        return _norms(values)
    dtype = torch.float64 if any(v.dtype is torch.float64 for v in values) else torch.float32
    result = torch.zeros(len(values), dtype=dtype, device=values[0].device)
    for positions, members in groups:
        found = _norms(members).to(result)
        result[torch.tensor(positions, device=result.device)] = found
    return result


def _norms(members: list[Tensor]) -> Tensor:
    if members[0].device.type == "cpu":
        return loops().norm_rows(members, sizes_of(members))
    return torch.stack(torch._foreach_norm(members, 2))


def global_norm(norms: Tensor) -> Tensor:
    """The L2 norm over all tensors, sqrt(Σ norm²), from the norms of each.

    Example:
        >>> global_norm(torch.tensor([3.0, 4.0]))
        tensor(5.)
    """
    found: Tensor = torch.linalg.vector_norm(norms)
    return found
