"""The second half of the statistics of classes: NumPy on the host, steps in front."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainkit.stats.outputs.classification import ClassTotals

__all__ = ["CLASS_STATISTICS", "ClassValues"]

CLASS_STATISTICS = ("entropy", "entropy_normalized", "confidence", "margin")


@dataclass(frozen=True)
class ClassValues:
    """Computes what is written of the predictions of a classifier, from totals.

    Args:
        classes: Number of classes.
    """

    classes: int

    def __call__(
        self, sums: NDArray[Any], chosen: NDArray[Any], *offered: NDArray[Any]
    ) -> NDArray[Any]:
        """`CLASS_STATISTICS`, then the share of each class, `[S, 4 + shares]`.

        Args:
            sums: Of `ClassTotals`, with the steps in front; so are the others.
            chosen: How often each class was the most probable.
            offered: How often each class could have been chosen, where that differs.
        """
        of: Any = ClassTotals  # it takes arrays as well
        totals = of(sums, chosen, self.classes, *offered)
        means = totals.statistics()
        own = np.stack([means[name] for name in CLASS_STATISTICS], axis=-1)
        return np.concatenate((own, totals.shares()), axis=-1)
