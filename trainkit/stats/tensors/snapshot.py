"""Copies of tensors, and the distances of the tensors from their copies."""

from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor

from trainkit.stats.cpu.loops import loops
from trainkit.stats.cpu.sizes import Sizes, plain_sizes
from trainkit.stats.tensors.elements import chunks, elements, partitions
from trainkit.stats.tensors.norms import norms, norms_on_cpu
from trainkit.stats.tensors.readable import UnreadableError, check_owned, dense

__all__ = ["Snapshot"]

_PRECISE = (torch.float32, torch.float64, torch.complex64, torch.complex128)


class Snapshot:
    """Copies of tensors, to measure how far the same tensors move afterwards.

    Args:
        tensors: Any shapes, dtypes and layouts.

    Raises:
        UnreadableError: The elements of a tensor cannot be read: see `stats.tensors.readable`.

    Cost:
        The memory of the tensors (for sparse ones that of dense ones), one pass.

    Example:
        >>> weight = torch.tensor([3.0, 4.0])
        >>> before = Snapshot([weight])
        >>> _ = weight[1].add_(1)
        >>> before.distances()
        tensor([[1.],
                [5.]])
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._tensors: list[Tensor] = list(tensors)
        # Either all copies end to end, if they are of one device and dtype, or one by one.
        self._flat: Tensor | None = None
        self._copies: list[Tensor] = []
        sizes = plain_sizes(tensors)
        if sizes is not None:
            with suppress(UnreadableError):
                self._flat = (loops().copy_rows or _end_to_end)(tensors, sizes)
        if self._flat is None:
            self._copies = _copies([dense(tensor) for tensor in tensors])
            sizes = tuple(map(Tensor.numel, self._copies))
        self._sizes: Sizes = sizes or ()

    def distances(self) -> Tensor:
        """The L2 norms of the differences, ‖now − then‖, and of the copies, ‖then‖.

        As in `norms`, half precision is taken in float32, and NaN or infinite elements give NaN or
        infinite norms.

        Returns:
            Shape `[2, number of tensors]`, float32 (float64 if there is any float64), on the first
            tensor's device: ‖now − then‖, ‖then‖.

        Raises:
            ValueError: The number of elements of a tensor has changed.
            UnreadableError: The elements of a tensor can no longer be read.

        Cost:
            Three passes, and a copy of up to 32 MiB at a time; in main memory one pass.
        """
        flat, now = self._flat, self._tensors
        sizes = None if flat is None else plain_sizes(now)
        if sizes == self._sizes and flat is not None and now[0].dtype is flat.dtype:
            compiled = loops().distance_rows
            with suppress(UnreadableError):
                if compiled:
                    return compiled(flat, now, sizes)
                check_owned(now)
                return _distances(flat, now, sizes)
        then = self._copies if flat is None else torch.split(flat, list(self._sizes))
        now = [dense(tensor).reshape(-1) for tensor in now]
        for tensor, size in zip(now, self._sizes, strict=True):
            if tensor.numel() != size:
                raise ValueError(
                    f"has got another number of elements: {tensor.numel()}, after {size}"
                )
        moved = [norms(_differences(then[some], now[some])) for some in chunks(then)]
        kept = norms(then)
        return torch.stack((torch.cat([part.to(kept) for part in moved]), kept))

    def part(self, positions: Sequence[int]) -> "Snapshot":
        """The snapshot of some of the tensors; it shares their copies."""
        found = Snapshot(())
        found._tensors = [self._tensors[i] for i in positions]
        found._sizes = tuple(self._sizes[i] for i in positions)
        then = self._copies if self._flat is None else torch.split(self._flat, list(self._sizes))
        found._copies = [then[i] for i in positions]
        return found


@torch.no_grad()
def _end_to_end(tensors: Sequence[Tensor], sizes: Sizes) -> Tensor:
    check_owned(tensors)
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


@torch.no_grad()
def _distances(flat: Tensor, now: Sequence[Tensor], sizes: Sizes) -> Tensor:
    """Of tensors in main memory that own their memory, from their copies end to end, `[2, n]`."""
    then = torch.split(flat, list(sizes))
    moved = [
        norms_on_cpu(torch._foreach_sub([t.reshape(-1) for t in now[some]], then[some]))
        for some in chunks(now)
    ]
    return torch.stack((torch.cat(moved), norms_on_cpu(then)))


def _copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Flat copies; one allocation for each device and dtype, which is faster than many."""
    found = [tensor.reshape(-1) for tensor in tensors]
    for positions, members in partitions(found):
        flat = torch.cat(members)
        pieces = torch.split(flat, [*map(Tensor.numel, members)])
        for position, piece in zip(positions, pieces, strict=True):
            found[position] = piece
    return found


def _differences(before: Sequence[Tensor], after: Sequence[Tensor]) -> Sequence[Tensor]:
    with torch.no_grad():
        kinds = {(t.device, t.dtype) for t in (*before, *after)}
        if len(kinds) == 1 and before[0].dtype in _PRECISE:
            return torch._foreach_sub(list(after), list(before))
        return [
            a - b if b.dtype in _PRECISE else elements(a) - elements(b)
            for b, a in zip(before, after, strict=True)
        ]
