"""How far tensors have moved since a moment."""

from collections.abc import Sequence

import torch
from torch import Tensor

from trainkit.stats.elements import chunks, elements, partitions
from trainkit.stats.main_memory import loops, plain_sizes, sizes_of
from trainkit.stats.norms import norms

__all__ = ["Snapshot"]

_PRECISE = (torch.float32, torch.float64, torch.complex64, torch.complex128)


class Snapshot:
    """Copies of tensors, to compare the same tensors with when they were written to.

    Args:
        tensors: Dense tensors of any shapes and dtypes.

    Cost:
        Their memory, one pass.

    Example:
        >>> weight = torch.tensor([3.0, 4.0])
        >>> before = Snapshot([weight])
        >>> _ = weight[1].add_(1)
        >>> before.distances()
        tensor([[1.],
                [5.]])
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._tensors = tensors
        self._flat: Tensor | None = None
        self._copies: list[Tensor] = []
        sizes = plain_sizes(tensors)
        self._sizes = sizes_of(tensors) if sizes is None else sizes
        if sizes is not None:
            self._flat = loops().copy_rows(tensors, sizes)
        else:
            self._copies = _copies(self._tensors)

    def distances(self) -> Tensor:
        """The L2 norm of each tensor's difference, ‖now − then‖, and that of the tensor then.

        As with `norms`, half precision is taken in float32, and what is not finite shows.

        Returns:
            Shape `[2, number of tensors]`, float32 (float64 if there is any float64), on the first
            tensor's device: ‖now − then‖, ‖then‖.

        Raises:
            ValueError: A tensor has got another number of elements.

        Cost:
            Three passes, and a copy of up to 32 MiB at a time; in main memory one pass.
        """
        now = self._tensors
        sizes = plain_sizes(now)
        if (sizes_of(now) if sizes is None else sizes) != self._sizes:
            raise ValueError("a tensor has got another number of elements since the snapshot")
        flat = self._flat
        if flat is not None and sizes is not None and now[0].dtype is flat.dtype:
            return loops().distance_rows(flat, now, sizes)
        then = self._copies if flat is None else _pieces(flat, now)
        moved = [norms(_differences(then[some], now[some])) for some in chunks(then)]
        kept = norms(then)
        return torch.stack((torch.cat([part.to(kept) for part in moved]), kept))


def _copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copies; those of one kind in one piece of memory, which is had faster than many."""
    found = list(tensors)
    for positions, members in partitions(tensors):
        flat = torch.cat([member.detach().reshape(-1) for member in members])
        for position, piece in zip(positions, _pieces(flat, members), strict=True):
            found[position] = piece
    return found


def _pieces(flat: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    return list(torch._utils._unflatten_dense_tensors(flat, like))  # type: ignore[no-untyped-call]


def _differences(before: Sequence[Tensor], after: Sequence[Tensor]) -> Sequence[Tensor]:
    with torch.no_grad():
        kinds = {(t.device, t.dtype) for t in before}
        if len(kinds) == 1 and before[0].dtype in _PRECISE:
            return torch._foreach_sub(list(after), list(before))
        return [
            a - b if b.dtype in _PRECISE else elements(a) - elements(b)
            for b, a in zip(before, after, strict=True)
        ]
