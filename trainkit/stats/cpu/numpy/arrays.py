"""Tensors in main memory as NumPy arrays: large ones as they are, small ones joined.

Large arrays are taken in blocks that stay in the cache of a core. Small tensors are joined into one
array, so that one call serves many.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["BLOCK", "SAFE", "Joined", "blocks", "joined", "large", "ones", "scale_of"]

Array = NDArray[Any]

# Elements that a core's cache holds several times over.
BLOCK = 2**16
# Fewer elements than this are joined with those of other tensors.
_SMALL = 2**12
# Squares of elements in this range, and their sums, are ordinary floats of any precision.
SAFE = (1e-15, 1e15)


class Joined(NamedTuple):
    """Small tensors end to end; `positions` says which they are."""

    positions: list[int]
    values: Array
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def spread(self, per_tensor: Array) -> Array:
        """A value of each tensor, for each of its elements."""
        return np.repeat(per_tensor, self.sizes)


def large(tensors: Sequence[Tensor], sizes: Sequence[int]) -> Iterator[tuple[int, Array]]:
    """The positions and elements, in any order, of the tensors that are worth calls of their own.

    Args:
        tensors: Of one dtype, in main memory.
        sizes: Their numbers of elements.
    """
    for position, size in enumerate(sizes):
        if size >= _SMALL:
            yield position, tensors[position].detach().resolve_neg().numpy().ravel(order="K")


def joined(tensors: Sequence[Tensor], sizes: Sequence[int]) -> Iterator[Joined]:
    """All the others, joined to arrays of a block or less.

    Args:
        tensors: Of one dtype, in main memory, none of them empty.
        sizes: Their numbers of elements.
    """
    positions: list[int] = []
    total = 0
    for position, size in enumerate(sizes):
        if size < _SMALL:
            if total + size > BLOCK:
                yield _joined(tensors, sizes, positions)
                positions, total = [], 0
            positions.append(position)
            total += size
    if positions:
        yield _joined(tensors, sizes, positions)


def _joined(tensors: Sequence[Tensor], sizes: Sequence[int], positions: list[int]) -> Joined:
    # What DistributedDataParallel joins its buckets with: a fraction of the time of `torch.cat`.
    flat = torch._utils._flatten_dense_tensors([tensors[i] for i in positions])  # type: ignore[no-untyped-call]
    found = np.array([sizes[i] for i in positions], np.int64)
    return Joined(positions, flat.detach().resolve_neg().numpy(), found.cumsum() - found, found)


def blocks(array: Array) -> Iterator[Array]:
    """The array in parts of a block or less."""
    for start in range(0, array.size, BLOCK):
        yield array[start : start + BLOCK]


def ones(dtype: Any) -> Array:
    """A block of ones: the dot product with it is the fastest sum there is."""
    if dtype not in _ones:
        _ones[dtype] = np.ones(BLOCK, dtype)
    return _ones[dtype]


_ones: dict[Any, Array] = {}


def scale_of(max_abs: Any) -> Any:
    """The power of two just below each, 1 for 0, NaN and infinity; in float64."""
    usable = np.where(np.isfinite(max_abs) & (max_abs > 0), max_abs, 1).astype(np.float64)
    # frexp is exact where log2 is not, for denormals too.
    return np.ldexp(1.0, np.frexp(usable)[1] - 1)
