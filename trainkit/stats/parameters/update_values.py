"""Updates: how far a step moved the weights, relative to where they were."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainkit.stats.logarithm import log10
from trainkit.stats.parameters.chosen import Chosen, norm_of_norms

__all__ = ["UpdateValues", "ratio"]

Numbers = NDArray[Any]


def ratio(moved: Numbers, before: Numbers) -> Numbers:
    """‖w_after − w_before‖ / ‖w_before‖, from those norms; 1 for what has left 0, 0 if it stays.

    Example:
        >>> ratio(np.array([1.0, 2.0, 0.0]), np.array([4.0, 0.0, 0.0])).tolist()
        [0.25, 1.0, 0.0]
    """
    # From zero weights, ‖w_after‖ is ‖w_after − w_before‖; and 0 / 0 is 0: nothing moved.
    reference = np.where(before != 0, before, moved)
    with np.errstate(invalid="ignore"):  # 0 / 0 is not used
        return np.where(moved != 0, moved / reference, 0)


@dataclass(frozen=True, eq=False)
class UpdateValues:
    """Computes what is written of updates.

    Args:
        chosen: Which tensors have series.
        scaled: Whether there is a loss scaler, which may have the step skipped.
        band: Constants that are written beside the global ratio.
    """

    chosen: Chosen
    scaled: bool
    band: Sequence[float] = ()

    def __call__(self, distances: Numbers, *found_inf: Numbers) -> Numbers:
        """Global values, then the series.

        Args:
            distances: `[S, 2, N]`: ‖w_after − w_before‖ and ‖w_before‖ of each tensor.
            found_inf: Above 0 where the optimizer itself skipped the step, `[S]`.

        Returns:
            Per step: with a scaler 1 if the step was skipped; the global ratio and its log10; the
            band; then the series. Ratios of a skipped step are NaN.
        """
        moved, before = self._moved(distances, found_inf)
        total = ratio(norm_of_norms(moved), norm_of_norms(before))
        own = [total, log10(total), *(np.full_like(total, limit) for limit in self.band)]
        if self.scaled:
            own.insert(0, _skipped(total, found_inf))
        # The norms of a module are pooled first, and divided then.
        series = ratio(
            *(self.chosen.values(("norm",), norms[..., None, :]) for norms in (moved, before))
        )
        return np.concatenate((np.stack(own, axis=-1), series), axis=-1)

    def each(self, distances: Numbers, *found_inf: Numbers) -> Numbers:
        """The ratio of each shown tensor."""
        return self.chosen.rows(ratio(*self._moved(distances, found_inf)))

    @staticmethod
    def _moved(distances: Numbers, found_inf: Sequence[Numbers]) -> Sequence[Numbers]:
        moved, before = distances[..., 0, :], distances[..., 1, :]
        if found_inf:
            moved = np.where(_skipped(moved[..., 0], found_inf)[..., None], np.nan, moved)
        return moved, before


def _skipped(like: Numbers, found_inf: Sequence[Numbers]) -> Numbers:
    """For each of the steps, whether the optimizer was told to skip it."""
    return found_inf[0] > 0 if found_inf else np.zeros(np.shape(like), np.bool_)
