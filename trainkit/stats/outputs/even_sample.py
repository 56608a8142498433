"""A bounded sample of the rows of many batches, evenly spaced, without random numbers."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["EvenSample"]


@dataclass(frozen=True, eq=False)
class EvenSample:
    """Every n-th row, n a power of two: the same rows in every pass over the same data.

    Samples of batches are joined in order, with `+`.

    Args:
        rows: Shape `[m, ...]`, m at most `most`.
        count: How many rows there were.
        every: One row in so many was kept.
        most: Rows to keep.

    Example:
        >>> batches = [torch.arange(0, 4), torch.arange(4, 10)]
        >>> first, second = (EvenSample.of(batch, most=4) for batch in batches)
        >>> joined = first + second
        >>> joined.rows.tolist(), joined.count
        ([0, 4, 8], 10)
    """

    rows: Tensor
    count: int
    every: int
    most: int

    @classmethod
    def of(cls, rows: Tensor, *, most: int) -> "EvenSample":
        """Of one batch; a copy."""
        every = 1
        while -(-len(rows) // every) > most:
            every *= 2
        return cls(rows[::every].clone(), len(rows), every, most)

    def __add__(self, other: "EvenSample") -> "EvenSample":
        every, rows = self.every, self.rows
        while every < other.every:
            every, rows = every * 2, rows[::2]
        # Of the other one's rows, those whose number in the pass is a multiple of `every`. Where
        # that one kept few and began between, the nearest of them.
        first = -(-((-self.count) % every) // other.every)
        rows = torch.cat((rows, other.rows[first :: every // other.every]))
        while len(rows) > self.most:
            every, rows = every * 2, rows[::2]
        return EvenSample(rows, self.count + other.count, every, self.most)
