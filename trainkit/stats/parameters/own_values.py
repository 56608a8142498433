"""Columns that a user's pooling function computes from what was measured on the device."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainkit.stats.parameters.chosen import Chosen
from trainkit.stats.pooling import Members

__all__ = ["OwnValues"]

Numbers = NDArray[Any]


@dataclass(frozen=True, eq=False)
class OwnValues:
    """Calls a pooling function for each step, and puts its columns in order.

    Args:
        name: Of the monitor, for errors.
        pool: Makes the columns, one number per module each.
        columns: What it must return.
        chosen: Which tensors have series.
        measured: The names of the numbers that were measured.
        positions: For each part (of one device), those of its tensors.
    """

    name: str
    pool: Callable[[Members], Mapping[str, Numbers]]
    columns: Sequence[str]
    chosen: Chosen
    measured: Sequence[str]
    positions: Sequence[Sequence[int]]

    def __call__(self, *tables: Numbers) -> Numbers:
        """The values of the series, column by column, a row per step.

        Args:
            tables: A part's numbers, `[S, measured, its tensors]`.
        """
        # `pool` gets the numbers of one step at a time.
        return np.stack([self._of_step(step) for step in zip(*tables, strict=True)])

    def _of_step(self, tables: Sequence[Numbers]) -> Numbers:
        table = np.empty((len(self.measured), sum(map(len, self.positions))))
        for positions, part in zip(self.positions, tables, strict=True):
            table[:, list(positions)] = part
        members = self.chosen.members(self.measured, table)
        found = self.pool(members)
        lacking = [column for column in self.columns if column not in found]
        if lacking:
            raise ValueError(f"{self.name}.pool() must return {', '.join(lacking)} too")
        rows = [np.asarray(found[column], np.float64) for column in self.columns]
        return np.concatenate([np.broadcast_to(row, (members.modules,)) for row in rows])
