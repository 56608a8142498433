"""The largest of some values beside the values: one number that says how bad the worst layer is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["WithLargest"]


@dataclass(frozen=True, eq=False)
class WithLargest:
    """A function on the host that appends, to values, the largest value of some groups of them.

    Args:
        finish: Makes the values, `[..., N]`; None: they are the first argument.
        groups: Positions of the values of each group, none of them empty.

    Example:
        >>> finish = WithLargest(None, [[0, 2], [1]])
        >>> finish(np.array([0.25, 3.0, 0.5])).tolist()
        [0.25, 3.0, 0.5, 0.5, 3.0]
    """

    finish: Callable[..., NDArray[Any]] | None
    groups: Sequence[Sequence[int]]

    def __call__(self, *parts: NDArray[Any]) -> NDArray[Any]:
        """The values and the largest of each group, `[..., N + len(groups)]`; NaN is largest."""
        values = parts[0] if self.finish is None else self.finish(*parts)
        largest = [values[..., list(places)].max(-1) for places in self.groups]
        return np.concatenate((values, np.stack(largest, -1)), -1) if largest else values
