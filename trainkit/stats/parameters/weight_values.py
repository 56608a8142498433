"""Weights: their global norm, and the values of the series."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainkit.stats.parameters.chosen import Chosen, norm_of_norms

__all__ = ["NormOfAll", "WeightValues"]

Numbers = NDArray[Any]


@dataclass(frozen=True, eq=False)
class WeightValues:
    """Computes what is written of the weights of one optimizer.

    Args:
        chosen: Which have series.
        columns: Of the series, the first of the table.
        total: Whether their global norm is written, before the series.
    """

    chosen: Chosen
    columns: Sequence[str]
    total: bool

    def __call__(self, table: Numbers) -> Numbers:
        """The global norm, where it is written, and the series, from a table `[S, columns, N]`."""
        series = self.chosen.values(self.columns, table[..., : len(self.columns), :])
        if not self.total:
            return series
        return np.concatenate((norm_of_norms(table[..., 0, :])[..., None], series), axis=-1)


@dataclass(frozen=True, eq=False)
class NormOfAll:
    """The norm over the tensors of several optimizers, each counted once.

    Args:
        positions: For each optimizer, of its tensors that count.
    """

    positions: Sequence[Sequence[int]]

    def __call__(self, *norms: Numbers) -> Numbers:
        """From the norms of each optimizer's tensors, `[S, N]`."""
        kept = [part[..., at] for part, at in zip(norms, self.positions, strict=True)]
        return np.asarray(norm_of_norms(np.concatenate(kept, axis=-1)))[..., None]
