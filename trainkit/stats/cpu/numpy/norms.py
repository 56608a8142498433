"""L2 norms of tensors in main memory."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainkit.stats.cpu.loops import Sizes
from trainkit.stats.cpu.numpy.arrays import Array, blocks, joined, large, scale_of
from trainkit.stats.tensors.readable import check_owned

__all__ = ["norm_rows", "norm_rows_of_owned"]

# Between these, a sum of squares has lost nothing to underflow or overflow of its terms.
_SAFE = (1e-26, 1e35)


def norm_rows(tensors: Sequence[Tensor], sizes: Sizes) -> Tensor:
    """The norms of tensors of one dtype that all have elements, `[n]`."""
    check_owned(tensors)
    return norm_rows_of_owned(tensors, sizes)


def norm_rows_of_owned(tensors: Sequence[Tensor], sizes: Sizes) -> Tensor:
    """The same of tensors that own their memory, as results of torch do."""
    found = np.empty(len(sizes), np.float64)
    with np.errstate(all="ignore"):
        for position, array in large(tensors, sizes):
            found[position] = _norm(array)
        for some in joined(tensors, sizes):
            x = some.values.astype(np.float64)
            squares = np.add.reduceat(x * x, some.starts)
            found[some.positions] = np.sqrt(squares)
            if some.values.dtype == np.float64:
                for k in np.flatnonzero(np.logical_not(_is_safe(squares))):
                    part = x[some.starts[k] : some.starts[k] + some.sizes[k]]
                    found[some.positions[k]] = _scaled_norm(part)
        double = tensors[0].dtype is torch.float64
        return torch.from_numpy(found if double else found.astype(np.float32))


def _norm(array: Array) -> float:
    squares = sum(float(np.dot(block, block)) for block in blocks(array))
    return math.sqrt(squares) if _is_safe(squares) else _scaled_norm(array)


def _is_safe(squares: Any) -> Any:
    return (squares > _SAFE[0]) & (squares < _SAFE[1])


def _scaled_norm(array: Array) -> float:
    scale = float(scale_of(max(float(array.max()), -float(array.min()))))
    scaled = (block.astype(np.float64) / scale for block in blocks(array))
    return float(np.sqrt(sum(float(np.dot(x, x)) for x in scaled)) * scale)
