"""Everything that was written at one step, on the host."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from trainkit.writers.protocol import Histogram, Writer

__all__ = [
    "BlockWriter",
    "HostBlock",
    "HostHistogram",
    "HostItem",
    "HostStep",
    "ScalarChunk",
    "StepWriter",
    "step_by_step",
    "write_steps",
]


class ScalarChunk(NamedTuple):
    """Scalars that arrived together; `values` is float64, float32, int64 or int32, shape `[N]`."""

    tags: tuple[str, ...]
    values: NDArray[Any]

    def largest(self, count: int) -> "ScalarChunk":
        """The largest of them, in their order; NaN counts as larger than any number."""
        # sort puts NaN last.
        places = sorted(np.argsort(self.values, kind="stable")[-count:].tolist()) if count else []
        return ScalarChunk(tuple(self.tags[i] for i in places), self.values[places])


class HostHistogram(NamedTuple):
    """A `Histogram` in NumPy arrays."""

    counts: NDArray[np.int64]
    edges: NDArray[np.float64]
    moments: NDArray[np.float64]
    non_finite: int

    def as_histogram(self) -> Histogram:
        """The same in tensors on the CPU."""
        counts, edges, moments = (torch.from_numpy(np.array(x)) for x in self[:3])
        return Histogram(counts, edges, moments, torch.tensor(self.non_finite, device="cpu"))


@dataclass
class HostStep:
    """Everything that was written at one step, on the host.

    A tag that was written twice stands in `scalars` twice; the last one counts. In the other
    fields the last one is what is left.

    Args:
        step: Of every value.
        wall_time: When the first of them was written, in seconds since the epoch.
        scalars: In the order in which they were written.
        histograms: Tag to histogram.
        texts: Tag to Markdown.
        images: Tag to uint8, shape `[N, C, H, W]`.
        hparams: Name to value.
    """

    step: int
    wall_time: float
    scalars: Sequence[ScalarChunk] = ()
    histograms: Mapping[str, HostHistogram] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    hparams: Mapping[str, bool | float | str] = field(default_factory=dict)
    pr_curves: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    def numbers(self) -> dict[str, float]:
        """Every scalar as a Python number, the last one written under a tag."""
        return {
            tag: value
            for tags, values in self.scalars
            for tag, value in zip(tags, values.tolist(), strict=True)
        }


@dataclass(eq=False)
class HostBlock:
    """Points of one curve at several steps, on the host.

    Args:
        tags: Of each point's numbers.
        steps: int64, shape `[S]`.
        times: When, in seconds since the epoch, shape `[S]`.
        values: float64, shape `[S, len(tags)]`.
        description: Of the curve.
    """

    tags: tuple[str, ...]
    steps: NDArray[np.int64]
    times: NDArray[np.float64]
    values: NDArray[np.float64]
    description: str = ""

    def alone(self) -> list[HostStep]:
        """The same, step by step."""
        rows = zip(self.steps.tolist(), self.times.tolist(), self.values, strict=True)
        return [HostStep(step, time, [ScalarChunk(self.tags, row)]) for step, time, row in rows]


HostItem = HostStep | HostBlock


def step_by_step(items: Sequence[HostItem]) -> list[HostStep]:
    """The same, without blocks."""
    return [
        step for item in items for step in (item.alone() if isinstance(item, HostBlock) else [item])
    ]


@runtime_checkable
class BlockWriter(Protocol):
    """A writer that takes a block whole."""

    def write_block(self, block: HostBlock) -> None:
        """Write all of its points."""


@runtime_checkable
class StepWriter(Protocol):
    """A writer that takes everything of some steps at once, when it is on the host already."""

    def write_steps(self, host_steps: Sequence[HostStep]) -> None:
        """Write all of them, in order."""


def write_steps(writer: Writer, items: Sequence[HostItem]) -> None:
    """Write all of them, in order, with whatever verbs the writer has."""
    for whole, group in groupby(items, key=lambda item: isinstance(item, HostBlock)):
        some: Any = list(group)
        if whole and isinstance(writer, BlockWriter):
            for block in some:
                writer.write_block(block)
            continue
        host_steps = step_by_step(some)
        if isinstance(writer, StepWriter):
            writer.write_steps(host_steps)
            continue
        for host_step in host_steps:
            _write_step(writer, host_step)


def _write_step(writer: Writer, host_step: HostStep) -> None:
    step = host_step.step
    if host_step.scalars:
        writer.write_scalars(step, host_step.numbers())
    if host_step.histograms:
        histograms = {tag: h.as_histogram() for tag, h in host_step.histograms.items()}
        writer.write_histograms(step, histograms)
    if host_step.texts:
        writer.write_texts(step, host_step.texts)
    if host_step.images:
        images = {tag: torch.from_numpy(pixels) for tag, pixels in host_step.images.items()}
        writer.write_images(step, images)
    if host_step.hparams:
        writer.write_hparams(step, host_step.hparams)
