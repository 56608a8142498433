"""One number for many: the statistics of a module from those of its parameters, on the host."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["POOLED", "Members", "check_poolable", "pooled"]

Floats = NDArray[np.float64]


class Members:
    """Columns of numbers of tensors, and to which module each tensor belongs.

    Everything is an array in float64. What is computed of the members has one number per tensor,
    what is computed of the modules one number per module. Where every tensor is shown by itself,
    it is a module of its own, so that one formula serves both.

    Args:
        columns: Column → numbers of the members, `[members]`; with any dimensions in front.
        elements: Number of elements of each member, above 0.
        module: Position of each member's module, from 0.
        modules: Number of modules.

    Example:
        The mean of two tensors of one and of three elements, which are one module:

        >>> members = Members({"mean": [8.0, 4.0]}, elements=[1, 3], module=[0, 0], modules=1)
        >>> mean = members.mean(members["mean"])
        >>> mean, members["mean"] - members.of_module(mean)
        (array([5.]), array([ 3., -1.]))
    """

    def __init__(
        self,
        columns: Mapping[str, Sequence[float] | NDArray[np.generic]],
        elements: Sequence[int] | NDArray[np.generic],
        module: Sequence[int] | NDArray[np.generic],
        modules: int,
    ) -> None:
        self._columns = {name: np.asarray(v, np.float64) for name, v in columns.items()}
        self.elements: Floats = np.asarray(elements, np.float64)
        self.module = np.asarray(module, np.intp)
        self.modules = modules
        self._elements = self.sum(self.elements)

    def __getitem__(self, column: str) -> Floats:
        """The numbers of the members."""
        return self._columns[column]

    def sum(self, values: Floats) -> Floats:
        """Per module, the sum over its members."""
        rows = values.reshape(-1, len(self.module)) if values.ndim != 1 else values[None]
        found = np.empty((len(rows), self.modules))
        for i, row in enumerate(rows):
            found[i] = np.bincount(self.module, row, minlength=self.modules)
        return found.reshape(*values.shape[:-1], self.modules)

    def mean(self, values: Floats) -> Floats:
        """Per module, the mean over its members, weighted by their numbers of elements."""
        return self.sum(self.elements * values) / self._elements

    def max(self, values: Floats) -> Floats:
        """Per module, the largest of its members; NaN where one is NaN."""
        found = np.full((*values.shape[:-1], self.modules), -np.inf)
        with np.errstate(invalid="ignore"):  # NaN is an answer
            at: Any = (..., self.module)
            np.maximum.at(found, at, values)
        return found

    def of_module(self, values: Floats) -> Floats:
        """Per member, the number of its module."""
        return values[..., self.module]


def _std(members: Members) -> Floats:
    means = members["mean"]
    spread = means - members.of_module(members.mean(means))
    return np.sqrt(members.mean(members["std"] ** 2 + spread**2))


#: Column → the function that pools it. Other columns cannot be pooled.
POOLED: Mapping[str, Callable[[Members], Floats]] = {
    "norm": lambda members: np.sqrt(members.sum(members["norm"] ** 2)),
    "mean": lambda members: members.mean(members["mean"]),
    "std": _std,
    "max_abs": lambda members: members.max(members["max_abs"]),
    "zero_fraction": lambda members: members.mean(members["zero_fraction"]),
    "non_finite": lambda members: members.sum(members["non_finite"]),
}


def pooled(columns: Iterable[str], members: Members) -> dict[str, Floats]:
    """Of each column, the numbers of the modules.

    norm = sqrt(Σ norm²); mean and zero_fraction are weighted by elements; std is that of all
    elements of the module (it needs the column mean); max_abs is the largest; non_finite the sum.

    Raises:
        ValueError: How a column is pooled is not known.

    Example:
        >>> members = Members({"norm": [3.0, 4.0]}, elements=[2, 5], module=[0, 0], modules=1)
        >>> pooled(["norm"], members)
        {'norm': array([5.])}
    """
    columns = tuple(columns)
    check_poolable(columns)
    return {column: POOLED[column](members) for column in columns}


def check_poolable(columns: Iterable[str]) -> None:
    """Check that it is known how to pool each column.

    Raises:
        ValueError: It is not: a mean, say, would be wrong without anybody noticing.

    Example:
        >>> check_poolable(["mean", "kurtosis"])
        Traceback (most recent call last):
        ValueError: the column 'kurtosis' has no pooling, only norm, mean, std, max_abs, \
zero_fraction, non_finite have; a ParameterMonitor computes it in a method of its own: \
pool(members)
    """
    for column in columns:
        if column not in POOLED:
            raise ValueError(
                f"the column {column!r} has no pooling, only {', '.join(POOLED)} have; "
                "a ParameterMonitor computes it in a method of its own: pool(members)"
            )
