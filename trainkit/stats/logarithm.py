"""Logarithms for charts: TensorBoard has no logarithmic axis at first look."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LOWEST", "log10", "log10_extremes"]

# What log10 gives for 0: a little below that of the smallest normal float32.
LOWEST = -38.0


def log10(values: Any) -> NDArray[np.float64]:
    """log10 of values that are not negative; `LOWEST` for 0, NaN for NaN, inf for inf.

    0 is no fault (a gradient may vanish), and -inf would be reported as one.

    Args:
        values: Numbers, an array of any shape.

    Example:
        >>> log10([0.0, 0.01, 1.0]).tolist()
        [-38.0, -2.0, 0.0]
    """
    found: NDArray[np.float64] = np.log10(np.maximum(np.asarray(values), 10.0**LOWEST))
    return found


def log10_extremes(norms: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """log10 of the smallest and of the largest norm; NaN where one of them is NaN.

    Args:
        norms: Of tensors, `[..., N]`, N > 0.

    Example:
        >>> smallest, largest = log10_extremes([0.001, 0.1, 10.0])
        >>> float(smallest), float(largest)
        (-3.0, 1.0)
    """
    norms = np.asarray(norms, np.float64)
    return log10(norms.min(-1)), log10(norms.max(-1))
