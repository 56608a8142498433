"""How far tensors have moved."""

from collections.abc import Sequence

import torch
from torch import Tensor

from trainkit.stats.elements import chunks, elements
from trainkit.stats.main_memory import is_plain, loops
from trainkit.stats.norms import norms

__all__ = ["distances"]

_PRECISE = (torch.float32, torch.float64, torch.complex64, torch.complex128)


def distances(before: Sequence[Tensor], after: Sequence[Tensor]) -> Tensor:
    """The L2 norm of each difference, ‖after − before‖, and that of each tensor before, ‖before‖.

    As with `norms`, half precision is taken in float32, and what is not finite shows.

    Args:
        before: Dense tensors of any shapes and dtypes.
        after: The same ones, later.

    Returns:
        Shape `[2, len(before)]`, float32 (float64 if there is any float64), on the first tensor's
        device: the distances, and the norms before.

    Raises:
        ValueError: The shapes differ.

    Cost:
        Three passes, and a copy of up to 32 MiB at a time; in main memory one pass.

    Example:
        >>> distances([torch.tensor([3.0, 4.0])], [torch.tensor([3.0, 5.0])])
        tensor([[1.],
                [5.]])
    """
    if [t.shape for t in before] != [t.shape for t in after]:
        raise ValueError("before and after must have the same shapes, tensor by tensor")
    both = (*before, *after)
    if before and is_plain(both) and all(map(Tensor.numel, before)):
        return loops().distance_rows(before, after)
    moved = [norms(_differences(before[some], after[some])) for some in chunks(before)]
    kept = norms(before)
    return torch.stack((torch.cat([part.to(kept) for part in moved]), kept))


def _differences(before: Sequence[Tensor], after: Sequence[Tensor]) -> Sequence[Tensor]:
    with torch.no_grad():
        kinds = {(t.device, t.dtype) for t in before}
        if len(kinds) == 1 and before[0].dtype in _PRECISE:
            return torch._foreach_sub(list(after), list(before))
        return [
            a - b if b.dtype in _PRECISE else elements(a) - elements(b)
            for b, a in zip(before, after, strict=True)
        ]
