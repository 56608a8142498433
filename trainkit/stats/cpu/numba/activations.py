"""Totals of module outputs in main memory: one compiled pass over each output."""

from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainkit.stats.cpu.numba.compiling import AHEAD, array_at, compiled, fetch
from trainkit.stats.outputs.activations import Bounds, OutputStatistics
from trainkit.stats.tensors.readable import ORDINARY

__all__ = ["HostTotals"]

# A module's row: elements, mean, sum of squared deviations from the mean, saturated elements, units
# that were 0 so far, units; then the four statistics that follow from them, in the order of
# `OutputStatistics`; and for each of the four 1 where there is one.
_STATISTICS, _PRESENT, _WIDTH = 6, 10, 14
# Where the variance is a smaller share of the mean square, it is taken around the mean.
_SHARE = 1e-6
_UNBOUNDED = 1.0, 0.0


class HostTotals:
    """Totals of outputs in main memory; see `OutputTotals`.

    Args:
        modules: How many modules there are.
    """

    def __init__(self, modules: int) -> None:
        self._table = np.zeros((modules, _WIDTH))
        self._rows = [row.ctypes.data for row in self._table]
        self._places: dict[int, _Place] = {}
        self._layouts: dict[bytes, tuple[tuple[tuple[int, int], ...], NDArray[np.int64]]] = {}

    def owns(self, y: Tensor) -> bool:
        """Whether `add` can take it as it is: dense, in order, in memory of its own, not empty."""
        if not (
            type(y) in ORDINARY and y.dtype in _ADD and y.layout is torch.strided and y.is_cpu
        ) or (y.is_nested or y.is_neg()):  # fmt: skip
            return False
        try:
            needed = (y.storage_offset() + y.numel()) * y.itemsize
            return (
                y.data_ptr() != 0
                and (y.is_contiguous() or _channels_last(y))
                and needed <= y.untyped_storage().nbytes()
            )
        except (RuntimeError, NotImplementedError):  # a wrapper of torch.func
            return False

    def add(
        self, module: int, y: Tensor, axis: int | None, bounds: Bounds | None, fresh: bool
    ) -> None:
        """Take in one output that is owned, or that `real` has returned; see `OutputTotals`."""
        last = not y.is_contiguous()
        if last and not (axis in (None, 1) and _channels_last(y)):
            y, last = y.contiguous(), False
        shape = y.shape
        place = self._places.get(module)
        if place is None or not place.fits(shape, axis, last):
            place = self._places[module] = _Place(shape, axis, last, place)
        low, high = bounds or _UNBOUNDED
        _ADD[y.dtype](
            y.data_ptr(), *place.sizes, low, high, self._rows[module], place.address, fresh
        )

    def take(self) -> OutputStatistics | None:
        """What the outputs came to, if there were any; then they are forgotten."""
        present = self._table[:, _PRESENT:]
        key = present.tobytes()
        if key not in self._layouts:
            if len(self._layouts) >= 16:  # random branches make ever new sets of modules
                self._layouts.clear()
            found = present.nonzero()
            keys = tuple(zip(*(numbers.tolist() for numbers in found), strict=True))
            self._layouts[key] = keys, found[0] * _WIDTH + _STATISTICS + found[1]
        keys, positions = self._layouts[key]
        if not keys:
            return None
        values = self._table.take(positions).astype(np.float32)
        present.fill(0)
        return OutputStatistics(keys, (torch.from_numpy(values),))


class _Place:
    """How the elements of outputs of one shape lie in memory, and which units were not 0."""

    alive: NDArray[np.uint8]

    def __init__(
        self, shape: torch.Size, axis: int | None, last: bool, before: "_Place | None"
    ) -> None:
        self.shape, self.axis, self.last = shape, axis, last
        self.sizes = 1, 0, prod(shape)
        if axis is not None:
            inner = 1 if last else prod(shape[axis + 1 :])
            self.sizes = prod(shape) // (shape[axis] * inner), shape[axis], inner
        self.alive = np.zeros(self.sizes[1], np.uint8)
        if before is not None and before.sizes[1] == self.sizes[1]:
            self.alive = before.alive  # of another call in this iteration, of another batch size
        self.address = self.alive.ctypes.data

    def fits(self, shape: torch.Size, axis: int | None, last: bool) -> bool:
        return self.axis == axis and self.last == last and self.shape == shape


def _channels_last(y: Tensor) -> bool:
    form = {4: torch.channels_last, 5: torch.channels_last_3d}.get(y.ndim)
    return form is not None and y.is_contiguous(memory_format=form)


@compiled
def _add_32(
    address: int, outer: int, units: int, inner: int, low: float, high: float, row: int,
    alive: int, fresh: bool,
) -> None:  # fmt: skip
    """Add `outer · units · inner` float32 elements at an address to the row at another.

    Args:
        address: Of the elements, in this order, side by side; `units` is 0 where dead units are
            not asked for, and they are `outer · inner` then.
        outer: How often the units come.
        units: How many there are.
        inner: Elements of a unit that stand together.
        low: Smaller elements are saturated.
        high: Larger ones are; a `high` below `low` asks for none.
        row: Address of the module's row.
        alive: Address of a byte per unit: 1 where it was not 0 somewhere.
        fresh: Whether to forget what the row and these bytes held before.
    """
    x = array_at(address, outer * max(units, 1) * inner, np.float32)
    _accumulate(x, outer, units, inner, low, high, row, alive, fresh)


@compiled
def _add_64(
    address: int, outer: int, units: int, inner: int, low: float, high: float, row: int,
    alive: int, fresh: bool,
) -> None:  # fmt: skip
    """The same of float64 elements."""
    x = array_at(address, outer * max(units, 1) * inner, np.float64)
    _accumulate(x, outer, units, inner, low, high, row, alive, fresh)


@compiled
def _accumulate(
    x: Any, outer: int, units: int, inner: int, low: float, high: float, row: int, alive: int,
    fresh: bool,
) -> None:  # fmt: skip
    r = array_at(row, _WIDTH, np.float64)
    if fresh:
        r[:] = 0.0
    n = x.size
    total, squares = _sums(x)
    mean, square = total / n, squares / n
    variance = square - mean * mean
    spread = variance * n
    if not variance > _SHARE * square:
        spread = _around(x, mean)
    before = r[0]
    count = before + n
    shift = mean - r[1]
    # Chan, Golub & LeVeque (1979), https://doi.org/10.2307/2683386: exact for any sizes.
    r[2] += spread + shift * shift * (before * n / count)
    r[1] += shift * (n / count)
    r[0] = count
    r[6], r[7] = r[1], np.sqrt(r[2] / count)
    r[10] = r[11] = 1.0
    if units:
        marks = array_at(alive, units, np.uint8)
        if fresh:
            marks[:] = 0
        r[4], r[5] = units - _mark(x, outer, units, inner, marks), units
        r[8], r[12] = r[4] / units, 1.0
    if low < high:
        r[3] += _beyond(x, x.dtype.type(low), x.dtype.type(high))
        r[9], r[13] = r[3] / count, 1.0


@compiled
def _sums(x: Any) -> Any:
    total = squares = 0.0
    for start in range(0, x.size, AHEAD):
        some = x[start : start + AHEAD]
        fetch(x, start + AHEAD)
        for i in range(some.size):
            v = np.float64(some[i])
            total += v
            squares += v * v
    return total, squares


@compiled
def _around(x: Any, mean: Any) -> Any:
    """The sum of squared deviations, where the digits of the sum of squares are the mean's."""
    spread = off = 0.0
    for i in range(x.size):
        d = np.float64(x[i]) - mean
        spread += d * d
        off += d
    return spread - off * off / x.size


@compiled
def _beyond(x: Any, low: Any, high: Any) -> int:
    found = 0
    for i in range(x.size):
        found += (x[i] < low) | (x[i] > high)
    return found


@compiled
def _mark(x: Any, outer: int, units: int, inner: int, marks: Any) -> int:
    """Mark the units that are not 0 somewhere; how many are marked."""
    found = 0
    for unit in range(units):
        found += marks[unit]
    for o in range(outer):
        if found == units:
            break
        if inner == 1:
            one = x[o * units : (o + 1) * units]
            found = 0
            for unit in range(units):
                marks[unit] |= one[unit] != 0
                found += marks[unit]
            continue
        for unit in range(units):
            if marks[unit] == 0:
                start = (o * units + unit) * inner
                some = x[start : start + inner]
                others = 0
                for i in range(inner):
                    others += some[i] != 0
                if others:
                    marks[unit] = 1
                    found += 1
    return found


_ADD = {torch.float32: _add_32, torch.float64: _add_64}
