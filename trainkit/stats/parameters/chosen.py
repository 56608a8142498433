"""Which of many tensors are shown, and which of them are one module."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainkit.stats.pooling import Members, pooled

__all__ = ["Chosen", "norm_of_norms"]

Numbers = NDArray[Any]


def norm_of_norms(norms: Numbers) -> Any:
    """The L2 norm over all tensors, sqrt(Σ norm²), from the norms of each, `[..., N]`.

    Example:
        >>> float(norm_of_norms(np.array([3.0, 4.0])))
        5.0
    """
    return np.sqrt(np.square(norms, dtype=np.float64).sum(-1))


@dataclass(frozen=True, eq=False)
class Chosen:
    """The tensors that have series, and how many series they become.

    Args:
        positions: Of the tensors that are shown, among all that are measured.
        modules: For each shown tensor, the position of its module; empty where each tensor has a
            series of its own.
        series: Number of series of a column: modules or shown tensors.
        elements: Number of elements of each measured tensor; needed with `modules`.

    Example:
        >>> both = Chosen([0, 1], modules=[0, 0], series=1, elements=(2, 5))
        >>> both.values(("norm",), np.array([[3.0, 4.0]])).tolist()
        [5.0]
    """

    positions: Sequence[int]
    modules: Sequence[int] = ()
    series: int = 0
    elements: Sequence[int] = field(default=())

    def rows(self, values: Numbers) -> Numbers:
        """Of the last dimension, those of the shown tensors."""
        return values if len(self.positions) == values.shape[-1] else values[..., self.positions]

    def values(self, columns: Sequence[str], table: Numbers) -> Numbers:
        """The values of all series, column by column.

        Args:
            columns: The statistics.
            table: Their values, `[S, len(columns), N]`; S, the steps, may be left out.

        Returns:
            `[S, len(columns) * series]`.
        """
        table = self.rows(table)
        if self.modules:
            members = self._members(dict(zip(columns, np.moveaxis(table, -2, 0), strict=True)))
            table = np.stack([*pooled(columns, members).values()], axis=-2)
        return table.reshape(*table.shape[:-2], -1)

    def members(self, columns: Sequence[str], table: Numbers) -> Members:
        """The shown tensors, each with its module: the module or, if not pooled, itself.

        Args:
            columns: Of the table.
            table: Their values, `[len(columns), N]`.
        """
        return self._members(dict(zip(columns, self.rows(table), strict=True)))

    def _members(self, columns: dict[str, Numbers]) -> Members:
        elements = self.rows(np.asarray(self.elements))
        return Members(columns, elements, self.modules or range(self.series), self.series)
