"""Points of curves on their way: kept by the iteration, read and thinned out by the block."""

import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainkit.writers.protocol import Curve
from trainkit.writers.step import transfer
from trainkit.writers.step.host_step import HostBlock

__all__ = ["Block", "Track", "read_block"]

# So many points are exact; then as many are means of two iterations, of four, and so on.
EXACT = 10_000
_SAYS_SO = (
    "A point is one iteration, for the first 10,000; the next 10,000 points are means of two "
    "iterations each, then of four, of eight, and so on, at the last of them."
)
# A block is handed on when it holds so many.
MOST = 512

Array = NDArray[Any]


class Track:
    """One curve of one writer: its points since they were last handed on.

    Args:
        curve: Whose points they are.
    """

    def __init__(self, curve: Curve) -> None:
        self.curve = curve
        self.rows = 0  # so far, in all
        self.steps: list[int] = []
        self.values: list[tuple[float, ...] | Tensor] = []
        self.began, self._first = 0.0, 0
        self.streams: tuple[Any, ...] = ()  # CUDA streams on which they were computed
        # What belongs to whoever reads the blocks, in their order: rows of a mean to come.
        self.open = _OpenMean()

    def add(self, step: int, values: "tuple[float, ...] | Tensor") -> None:
        """Keep one more point."""
        if not self.steps:
            self.began, self._first = time.time(), self.rows
        if type(values) is not tuple:
            values = self._kept(values)
        self.steps.append(step)
        self.values.append(values)
        self.rows += 1

    def take_back(self) -> "tuple[float, ...] | Tensor":
        """The newest point, which goes another way."""
        self.steps.pop()
        return self.values.pop()

    def _kept(self, values: Any) -> "tuple[float, ...] | Tensor":
        if not isinstance(values, Tensor):
            return tuple(values)
        if values.is_cuda:
            stream = torch.cuda.current_stream(values.device)
            if stream not in self.streams:
                self.streams = (*self.streams, stream)
        return transfer.wire(values.detach())

    def cut(self, ended: bool) -> "Block":
        """The points so far, to be handed on."""
        block = Block(self, self._first, self.steps, self.values, self.began, ended)
        self.steps, self.values = [], []
        return block


class Block:
    """Some points of a curve that follow each other, still on their devices.

    It stands where a `Gathering` may stand.

    Args:
        track: What they belong to.
        first: The number of the first of them, from 0.
        steps: Their steps.
        values: Their values.
        began: When the first of them came.
        ended: Whether no others will come: the mean that is open is closed.
    """

    histograms: Sequence[Any] = ()
    images: Mapping[str, int] = MappingProxyType({})
    texts: Mapping[str, str] = MappingProxyType({})
    hparams: Mapping[str, Any] = MappingProxyType({})
    deferred: Mapping[str, Any] = MappingProxyType({})

    def __init__(
        self,
        track: Track,
        first: int,
        steps: list[int],
        values: "list[tuple[float, ...] | Tensor]",
        began: float,
        ended: bool,
    ) -> None:
        self.track = track
        self.first = first
        self.steps = steps
        self.values = values
        self.began, self.cut_at = began, time.time()
        self.ended = ended
        self.tensors = [value for value in values if isinstance(value, Tensor)]

    @property
    def step(self) -> int:
        """The last one."""
        return self.steps[-1] if self.steps else 0


class _OpenMean:
    """Rows of a mean that is not complete. The latest stands apart: it may be the last of all."""

    def __init__(self) -> None:
        self.sum: Array | None = None
        self.count = 0
        self.step = 0  # of the latest in the sum
        self.latest: tuple[int, Array] | None = None


def read_block(block: Block) -> HostBlock:
    """The points of a block on the host, as they are written: means where there are many."""
    values = _rows(block)
    steps = np.array(block.steps, np.int64)
    track = block.track
    if block.first + len(steps) > EXACT or track.open.latest is not None:
        steps, values = _thinned(track.open, block.first, steps, values, block.ended)
    # A clock would be read in every iteration otherwise.
    times = np.linspace(block.began, block.cut_at, len(steps))
    description = f"{track.curve.description} {_SAYS_SO}".strip()
    return HostBlock(track.curve.tags, steps, times, values, description)


def window(row: int) -> tuple[int, int]:
    """Of how many rows the mean is that this row belongs to, and which of them it is (from 0)."""
    size, start = 1, 0
    while row >= start + EXACT * size:
        start += EXACT * size
        size *= 2
    return size, (row - start) % size


def _thinned(
    mean: _OpenMean, first: int, steps: Array, values: Array, ended: bool
) -> tuple[Array, Array]:
    found_steps: list[int] = []
    found: list[Array] = []

    def close() -> None:
        if mean.sum is not None:
            found_steps.append(mean.step)
            found.append(mean.sum / mean.count)
        mean.sum, mean.count = None, 0

    def take(step: int, row: Array) -> None:
        mean.sum = row if mean.sum is None else mean.sum + row
        mean.count, mean.step = mean.count + 1, step

    with np.errstate(all="ignore"):  # NaN is an answer
        for i, (step, row) in enumerate(zip(steps.tolist(), values, strict=True), start=first):
            size, place = window(i)
            if place == 0:
                if mean.latest is not None:
                    take(*mean.latest)
                    mean.latest = None
                close()
            if size == 1:
                take(step, row)
                close()
                continue
            if mean.latest is not None:
                take(*mean.latest)
            mean.latest = step, row
            if place == size - 1:
                take(*mean.latest)
                mean.latest = None
                close()
        if ended:
            close()
            if mean.latest is not None:
                take(*mean.latest)
                mean.latest = None
                close()
    shape = (len(found), values.shape[1])
    return np.array(found_steps, np.int64), np.array(found).reshape(shape)


def _rows(block: Block) -> Array:
    """The values of each row, shape `[rows, tags]`, float64."""
    width = len(block.track.curve.tags)
    if not block.tensors:
        return np.array(block.values, np.float64).reshape(-1, width)
    rows = np.empty((len(block.values), width))
    places = [i for i, value in enumerate(block.values) if isinstance(value, Tensor)]
    for i, value in enumerate(block.values):
        if not isinstance(value, Tensor):
            rows[i] = value
    by_device: dict[torch.device, list[int]] = {}
    for i in places:
        by_device.setdefault(block.values[i].device, []).append(i)  # type: ignore[union-attr]
    for device, members in by_device.items():
        streams = [stream for stream in block.track.streams if stream.device == device]
        some: Any = [block.values[i] for i in members]
        rows[members] = np.stack(transfer.read(some, streams))
    return rows
