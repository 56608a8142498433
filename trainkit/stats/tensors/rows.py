"""Many tensors as the rows of one matrix, so that one call reduces all of them."""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from trainkit.stats.precision import wide

__all__ = ["Rows", "row_norms"]

# Elements in a row. Their sum in float32 is exact to rounding; sums of rows are taken in float64.
WIDTH = 256


class Rows:
    """The elements of tensors of one device and dtype, in rows of 256.

    Each tensor begins a new row; its last row is filled up with zeros.

    Args:
        tensors: All with elements.

    Attributes:
        matrix: `[R, 256]`. It may share memory with a tensor: do not write to it.
        sizes: Number of elements of each tensor, `[n]`, float64 (float32 on a device without).

    Example:
        >>> rows = Rows([torch.ones(3), torch.full((257,), 2.0)])
        >>> rows.matrix.shape, rows.owner
        (torch.Size([3, 256]), tensor([0, 1, 1]))
        >>> rows.added(rows.matrix.sum(1))
        tensor([  3., 514.], dtype=torch.float64)
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        one = tensors[0]
        zeros = torch.zeros(WIDTH, dtype=one.dtype, device=one.device)
        sizes = list(map(Tensor.numel, tensors))
        filling = {rest: zeros[:rest] for rest in {-size % WIDTH for size in sizes} if rest}
        pieces: list[Tensor] = []
        for tensor, size in zip(tensors, sizes, strict=True):
            pieces.append(tensor)
            if size % WIDTH:
                pieces.append(filling[-size % WIDTH])
        flat = torch._utils._flatten_dense_tensors(pieces)  # type: ignore[no-untyped-call]
        self.matrix: Tensor = flat.view(-1, WIDTH)
        lengths = [(size - 1) // WIDTH + 1 for size in sizes]
        self.wide = wide(one.device)
        self._lengths = torch.tensor(lengths).to(one.device)
        self._counts = torch.tensor(sizes).to(one.device)
        self.sizes = self._counts.to(self.wide)

    @cached_property
    def owner(self) -> Tensor:
        """For each row the position of its tensor, `[R]`."""
        return torch.repeat_interleave(self._lengths, output_size=len(self.matrix))

    def added(self, per_row: Tensor) -> Tensor:
        """The sum over the rows of each tensor, `[R, ...]` to `[n, ...]`, in float64."""
        return self._pooled(per_row.to(self.wide), "sum")

    def largest(self, per_row: Tensor) -> Tensor:
        """The maximum over the rows of each tensor, `[R]` to `[n]`; NaN if there is any."""
        return self._pooled(per_row, "max")

    def last(self) -> tuple[Tensor, Tensor]:
        """The last row of each tensor, `[n]`, and which of its elements are no filling."""
        elements = self._counts - (self._lengths - 1) * WIDTH
        columns = torch.arange(WIDTH, device=elements.device)
        return self._lengths.cumsum(0) - 1, columns < elements[:, None]

    def _pooled(self, per_row: Tensor, how: str) -> Tensor:
        if per_row.device.type in ("cpu", "cuda"):  # always adds in the same order
            return torch.segment_reduce(per_row, how, lengths=self._lengths, unsafe=True)
        return pooled_by_index(per_row, self.owner, len(self.sizes), how)


def pooled_by_index(per_row: Tensor, owner: Tensor, n: int, how: str) -> Tensor:
    """The same as `torch.segment_reduce`, for devices that do not have it."""
    found = per_row.new_zeros(n, *per_row.shape[1:])
    if how == "sum":
        return found.index_add_(0, owner, per_row)
    return found.scatter_reduce_(0, owner, per_row, "amax", include_self=False)


def row_norms(matrix: Tensor) -> Tensor:
    """The L2 norm of each row, `[R]`."""
    found: Tensor = torch.linalg.vector_norm(matrix, 2, dim=1)
    return found
