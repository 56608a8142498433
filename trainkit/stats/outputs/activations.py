"""Statistics of what the modules of a network put out: mean, std, dead units, saturation."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainkit.stats.cpu.loops import loops
from trainkit.stats.tensors.moments import moments
from trainkit.stats.tensors.readable import ORDINARY, dense, tensors_in

__all__ = [
    "Bounds",
    "HostTotals",
    "OutputStatistics",
    "OutputTotals",
    "TorchTotals",
    "readable_output",
    "real",
]

Bounds = tuple[float, float]

_WIDE = (torch.float32, torch.float64)
_usual_dispatch: Any = Tensor.__torch_dispatch__


class OutputStatistics(NamedTuple):
    """The statistics of one iteration, perhaps still on their device.

    Args:
        keys: Of each value: the module's number, and which statistic it is: 0 mean, 1 std,
            2 dead fraction, 3 saturated fraction. The same ones are the same tuple.
        parts: The values, `[len(keys)]`, or what `finish` makes them of.
        finish: Works on arrays, of one step or, with a dimension in front, of several. The same
            keys have the same function.
    """

    keys: tuple[tuple[int, int], ...]
    parts: tuple[Tensor, ...]
    finish: Callable[..., NDArray[Any]] | None = None


class HostTotals(Protocol):
    """Totals in main memory, taken by compiled loops."""

    def owns(self, y: Tensor) -> bool:
        """Whether `add` can take it as it is."""

    def add(
        self, module: int, y: Tensor, axis: int | None, bounds: Bounds | None, fresh: bool
    ) -> None:
        """Take in one output that is owned, or that `real` has returned; see `OutputTotals`."""

    def take(self) -> OutputStatistics | None:
        """What the outputs came to, if there were any; then they are forgotten."""


class OutputTotals:
    """Totals of the outputs of some modules, by the modules' numbers, on any devices.

    Args:
        modules: How many modules there are.
    """

    def __init__(self, modules: int) -> None:
        self._modules = modules
        make = loops().output_totals
        self._host = None if make is None else make(modules)
        self._torch: dict[torch.device, TorchTotals] = {}

    def add(
        self,
        module: int,
        y: Tensor,
        axis: int | None = None,
        bounds: Bounds | None = None,
        *,
        fresh: bool = False,
    ) -> None:
        """Take in one output; one without elements says nothing.

        Args:
            module: The number of the module.
            y: Its output, of any kind.
            axis: The dimension of `y` that counts the units, where it has a shape; None: dead units
                are not asked for.
            bounds: Elements less than the first or more than the second are saturated; None: this
                is not asked for.
            fresh: Whether to forget the module's earlier outputs.

        Raises:
            UnreadableError: Nobody but the tensor's own code knows its numbers.
        """
        host = self._host
        if host is not None and host.owns(y):
            host.add(module, y, axis, bounds, fresh)
            return
        with torch.no_grad():
            found = readable_output(y)
            if found.numel() == 0:
                return
            y = real(found)
            if host is not None and y.is_cpu:
                host.add(module, y, axis, bounds, fresh)
                return
            totals = self._torch.get(y.device)
            if totals is None:
                totals = self._torch[y.device] = TorchTotals()
            totals.add(module, y, axis, bounds, fresh)

    def take(self) -> list[OutputStatistics]:
        """What the outputs came to, for each device; then they are forgotten."""
        parts = [totals.take() for totals in (self._host, *self._torch.values()) if totals]
        return [part for part in parts if part is not None]


def readable_output(y: Tensor) -> Tensor:
    """The output of a module as a dense tensor that owns its memory, detached.

    A subclass that notes other tensors beside its own elements (the place of an image, say) is
    read like any other, unless one of them has its shape: then that may be what it stands for.

    Raises:
        UnreadableError: Nobody but the tensor's own code knows its numbers.
    """
    dispatch: Any = type(y).__torch_dispatch__
    if type(y) not in ORDINARY and y.layout is torch.strided and dispatch is _usual_dispatch:
        with torch._C.DisableTorchFunctionSubclass():
            numbers = y.is_floating_point() or y.is_complex()  # else it may be packed
            if numbers and all(held.shape != y.shape for held in tensors_in(vars(y).values())):
                y = y.detach().as_subclass(Tensor)
    return dense(y)


def real(y: Tensor) -> Tensor:
    """The elements as float32 or float64 numbers; of complex ones the magnitudes."""
    if y.is_complex():
        y = (y.to(torch.complex64) if y.dtype is torch.complex32 else y).abs()
    if y.is_neg():  # the imaginary part of a conjugate: a view with the sign still to come
        y = y.resolve_neg()
    return y if y.dtype in _WIDE else y.float()


class TorchTotals:
    """Totals on one device, by launches that nobody waits for."""

    def __init__(self) -> None:
        self._calls: dict[int, list[tuple[int, Tensor, Tensor]]] = {}
        self._alive: dict[int, Tensor] = {}
        self._beyond: dict[int, list[Tensor]] = {}
        self._layouts: dict[Any, tuple[tuple[tuple[int, int], ...], _Finish]] = {}

    def add(
        self, module: int, y: Tensor, axis: int | None, bounds: Bounds | None, fresh: bool
    ) -> None:
        """Take in one output, not empty, as `real` returns it; see `OutputTotals`."""
        if fresh:
            for known in (self._calls, self._alive, self._beyond):
                known.pop(module, None)
        calls = self._calls.setdefault(module, [])
        calls.append((y.numel(), *moments(y)))
        if axis is not None:
            others = [dimension for dimension in range(y.ndim) if dimension != axis]
            alive, before = torch.any(y, dim=others), self._alive.get(module)
            same = before is not None and before.shape == alive.shape
            self._alive[module] = alive | before if same and before is not None else alive
        if bounds is not None:
            beyond = (y < bounds[0]) | (y > bounds[1])
            self._beyond.setdefault(module, []).append(beyond.sum())

    def take(self) -> OutputStatistics | None:
        """What the outputs came to, if there were any; then they are forgotten."""
        if not self._calls:
            return None
        calls, alive, beyond = self._calls, self._alive, self._beyond
        self._calls, self._alive, self._beyond = {}, {}, {}
        parts = [torch.stack([v for found in calls.values() for call in found for v in call[1:]])]
        if alive:
            parts.append(torch.cat(list(alive.values())).to(torch.uint8))
        if beyond:
            parts.append(torch.stack([count for found in beyond.values() for count in found]))
        layout = (
            tuple((module, tuple(call[0] for call in found)) for module, found in calls.items()),
            tuple((module, marks.numel()) for module, marks in alive.items()),
            tuple((module, len(found)) for module, found in beyond.items()),
        )
        if layout not in self._layouts:
            if len(self._layouts) >= 16:  # shapes may change in every iteration
                self._layouts.clear()
            finish = _Finish(*layout)
            self._layouts[layout] = finish.keys, finish
        keys, finish = self._layouts[layout]
        return OutputStatistics(keys, tuple(parts), finish)


class _Finish:
    """Makes the statistics, on the host, of what `TorchTotals` has stacked."""

    def __init__(self, calls: Any, alive: Any, beyond: Any) -> None:
        self._calls, self._alive, self._beyond = calls, alive, beyond
        self.keys = (
            *((module, which) for module, _ in calls for which in (0, 1)),
            *((module, 2) for module, _ in alive),
            *((module, 3) for module, _ in beyond),
        )

    def __call__(self, moments: NDArray[Any], *others: NDArray[Any]) -> NDArray[Any]:
        rest = list(others)
        columns: list[Any] = []
        at = 0
        for _, sizes in self._calls:
            n = np.array(sizes, np.float64)
            means, variances = (
                moments[..., at + k : at + 2 * n.size : 2].astype(np.float64) for k in (0, 1)
            )
            at += 2 * n.size
            with np.errstate(all="ignore"):
                share = n / n.sum()
                mean = (share * means).sum(-1)
                around = (share * (means - mean[..., None]) ** 2).sum(-1)
                columns += mean, np.sqrt((share * variances).sum(-1) + around)
        if self._alive:
            marks, at = rest.pop(0), 0
            for _, units in self._alive:
                columns.append(1 - marks[..., at : at + units].mean(-1))
                at += units
        if self._beyond:
            counts, at = rest.pop(0), 0
            elements = {module: sum(sizes) for module, sizes in self._calls}
            for module, number in self._beyond:
                columns.append(counts[..., at : at + number].sum(-1) / elements[module])
                at += number
        return np.stack(columns, -1).astype(np.float32)
