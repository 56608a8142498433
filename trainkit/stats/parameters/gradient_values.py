"""Gradients: global norm, what was clipped, extremes, and the values of the series."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainkit.stats.logarithm import log10, log10_extremes
from trainkit.stats.parameters.chosen import Chosen, norm_of_norms

__all__ = ["GradientValues", "RawGradients", "skipped_step"]

Numbers = NDArray[Any]

# A norm that got smaller by less than this is rounding (of unscaling, say) and not clipping.
_ROUNDING = 1e-5


@dataclass(frozen=True, eq=False)
class RawGradients:
    """Which gradients are compared with what a backward pass left.

    Args:
        raw: Positions among the raw gradients; None: all.
        seen: Positions, in the same order, among those that the optimizer sees; None: all.
        scaled: Whether the raw ones are still multiplied by the loss scale.
    """

    raw: Sequence[int] | None
    seen: Sequence[int] | None
    scaled: bool


@dataclass(frozen=True, eq=False)
class GradientValues:
    """Computes what is written of gradients.

    Args:
        chosen: Which have series.
        columns: Of the series, the first of the table; empty: the table has norms and numbers of
            non-finite elements only.
        scaled: Whether what the optimizer sees is still multiplied by the loss scale.
        raw: How to compare it with the raw gradients; None: there are none.
    """

    chosen: Chosen
    columns: Sequence[str]
    scaled: bool
    raw: RawGradients | None

    def __call__(self, table: Numbers, *rest: Numbers) -> Numbers:
        """Global values, then the series.

        Args:
            table: `[S, columns, N]`: norms first, numbers of non-finite elements last.
            rest: Raw norms `[S, M]`, if there are any; then the loss scale now, and the one of the
                backward pass, `[S]`, where there is one.

        Returns:
            Per step: global norm, its log10, non-finite elements, log10 of the smallest and the
            largest norm; with raw norms their global norm, its log10, and whether any was clipped;
            then the series, column by column.
        """
        table = self._unscaled(table, rest)
        norms = table[..., 0, :]
        total = norm_of_norms(norms)
        own = [total, log10(total), table[..., -1, :].sum(-1), *log10_extremes(norms)]
        if self.raw is not None:
            own += _compared(self.raw, norms, *rest)
        series = self.chosen.values(self.columns, table[..., : len(self.columns), :])
        return np.concatenate((np.stack(own, axis=-1), series), axis=-1)

    def norms(self, table: Numbers, *rest: Numbers) -> Numbers:
        """The norm of each shown tensor."""
        return self.chosen.rows(self._unscaled(table, rest)[..., 0, :])

    def _unscaled(self, table: Numbers, rest: Sequence[Numbers]) -> Numbers:
        if not self.scaled:
            return table
        # The share of zeros and the number of non-finite elements do not depend on the scale.
        dependent = 4 if self.columns else 1
        scale = rest[0 if self.raw is None else 1][..., None, None]
        return np.concatenate(
            (table[..., :dependent, :] / scale, table[..., dependent:, :]), axis=-2
        )


def _compared(how: RawGradients, seen: Numbers, raw: Numbers, *scales: Numbers) -> list[Any]:
    if how.scaled:
        raw = raw / scales[-1][..., None]
    total = norm_of_norms(raw)
    if how.raw is not None:
        raw = raw[..., how.raw]
    if how.seen is not None:
        seen = seen[..., how.seen]
    return [total, log10(total), (seen < raw * (1 - _ROUNDING)).any(-1)]


def skipped_step(norms: Numbers, *non_finite: Numbers) -> Numbers:
    """Of a step that was skipped: the global norm, and the number of non-finite elements.

    Args:
        norms: Of the raw gradients, `[S, N]`.
        non_finite: Numbers of each, `[S, N]`, where they are known.
    """
    return np.stack([norm_of_norms(norms), *(count.sum(-1) for count in non_finite)], axis=-1)
