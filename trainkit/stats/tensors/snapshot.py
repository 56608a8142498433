"""How far tensors have moved since a moment."""

from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor

from trainkit.stats.cpu.loops import Sizes, loops, plain_sizes
from trainkit.stats.tensors.elements import chunks, elements, partitions
from trainkit.stats.tensors.norms import norms
from trainkit.stats.tensors.readable import UnreadableError, dense

__all__ = ["Snapshot"]

_PRECISE = (torch.float32, torch.float64, torch.complex64, torch.complex128)


class Snapshot:
    """Copies of tensors, to compare the same tensors with when they were written to.

    Args:
        tensors: Any shapes, dtypes and layouts.

    Raises:
        UnreadableError: The elements of a tensor cannot be had: see `stats.readable`.

    Cost:
        Their memory (of sparse ones, that of dense ones), one pass.

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
        # All of one kind end to end; or each by itself.
        self._flat: Tensor | None = None
        self._copies: list[Tensor] = []
        sizes = plain_sizes(tensors)
        if sizes is not None:
            with suppress(UnreadableError):
                self._flat = loops().copy_rows(tensors, sizes)
        if self._flat is None:
            self._copies = _copies([dense(tensor) for tensor in tensors])
            sizes = tuple(map(Tensor.numel, self._copies))
        self._sizes: Sizes = sizes or ()

    def distances(self) -> Tensor:
        """The L2 norm of each tensor's difference, ‖now − then‖, and that of the tensor then.

        As with `norms`, half precision is taken in float32, and what is not finite shows.

        Returns:
            Shape `[2, number of tensors]`, float32 (float64 if there is any float64), on the first
            tensor's device: ‖now − then‖, ‖then‖.

        Raises:
            ValueError: A tensor has got another number of elements.
            UnreadableError: The elements of a tensor cannot be had any more.

        Cost:
            Three passes, and a copy of up to 32 MiB at a time; in main memory one pass.
        """
        flat = self._flat
        sizes = None if flat is None else plain_sizes(self._tensors)
        if sizes == self._sizes and flat is not None and self._tensors[0].dtype is flat.dtype:
            with suppress(UnreadableError):
                return loops().distance_rows(flat, self._tensors, sizes)
        then = self._copies if flat is None else torch.split(flat, list(self._sizes))
        now = [dense(tensor).reshape(-1) for tensor in self._tensors]
        for tensor, size in zip(now, self._sizes, strict=True):
            if tensor.numel() != size:
                raise ValueError(
                    f"has got another number of elements: {tensor.numel()}, after {size}"
                )
        moved = [norms(_differences(then[some], now[some])) for some in chunks(then)]
        kept = norms(then)
        return torch.stack((torch.cat([part.to(kept) for part in moved]), kept))

    def part(self, positions: Sequence[int]) -> "Snapshot":
        """Of some of the tensors; it shares the copies."""
        found = Snapshot(())
        found._tensors = [self._tensors[i] for i in positions]
        found._sizes = tuple(self._sizes[i] for i in positions)
        then = self._copies if self._flat is None else torch.split(self._flat, list(self._sizes))
        found._copies = [then[i] for i in positions]
        return found


def _copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Flat copies; those of one kind in one piece of memory, which is had faster than many."""
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
