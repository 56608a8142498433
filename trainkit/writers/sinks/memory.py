"""A writer that keeps everything in memory: for tests and notebooks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from trainkit.writers.as_sink import StepWriter
from trainkit.writers.folder_names import check_name
from trainkit.writers.front import Front
from trainkit.writers.gatherer import Gatherer
from trainkit.writers.protocol import Histogram
from trainkit.writers.step.host_step import Step
from trainkit.writers.step.pending import Gathering
from trainkit.writers.step.to_host import read_steps
from trainkit.writers.step.tracks import Block

__all__ = ["MemoryWriter"]


@dataclass
class _Contents:
    scalars: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    histograms: dict[str, list[tuple[int, Histogram]]] = field(default_factory=dict)
    texts: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    images: dict[str, list[tuple[int, Tensor]]] = field(default_factory=dict)
    hparams: dict[str, bool | float | str] = field(default_factory=dict)
    pr_curves: dict[str, list[tuple[int, Tensor]]] = field(default_factory=dict)


class _Received:
    """What came, in order: still on its device, or finished."""

    def __init__(self) -> None:
        self.items: list[Gathering | Block | Step] = []

    def check(self) -> None:
        """There is always room."""

    def deliver(self, gathered: Gathering | Block) -> None:
        self.items.append(gathered)

    def take(self) -> list[Step]:
        """All of it, read from its device."""
        items = self.items[:]
        del self.items[: len(items)]
        found: list[Step] = []
        for finished, group in groupby(items, key=_is_finished):
            some: Any = list(group)
            found += some if finished else read_steps(some)
        return found


def _is_finished(item: Gathering | Block | Step) -> bool:
    return isinstance(item, Step)


class MemoryWriter(Front, StepWriter):
    """Keeps everything that is written; what was written is read from its device when looked at.

    Writing reads no device, so that a test can count who does. Numbers are kept in the precision
    in which they came. Of a tag written twice at one step, the last value is kept.

    Example:
        >>> import torch
        >>> writer = MemoryWriter()
        >>> for step in (1, 2):
        ...     writer.write_scalars(step, {"loss/total": torch.tensor(1.0 / step)})
        >>> writer.scalars
        {'loss/total': [(1, 1.0), (2, 0.5)]}
    """

    def __init__(self) -> None:
        self._received = _Received()
        self._contents = _Contents()
        self._subruns: dict[str, MemoryWriter] = {}
        super().__init__(Gatherer(self._received))

    def __repr__(self) -> str:
        return "MemoryWriter()"

    @property
    def scalars(self) -> dict[str, list[tuple[int, float]]]:
        """Tag to steps and numbers, in the order of writing."""
        return self._read().scalars

    @property
    def histograms(self) -> dict[str, list[tuple[int, Histogram]]]:
        """Tag to steps and histograms, on the CPU."""
        return self._read().histograms

    @property
    def texts(self) -> dict[str, list[tuple[int, str]]]:
        """Tag to steps and texts."""
        return self._read().texts

    @property
    def images(self) -> dict[str, list[tuple[int, Tensor]]]:
        """Tag to steps and images (figures too), uint8, shape `[N, C, H, W]`."""
        return self._read().images

    @property
    def pr_curves(self) -> dict[str, list[tuple[int, Tensor]]]:
        """Tag to steps and precision-recall curves, float32, shape `[6, T]`: see `PrCurve`."""
        return self._read().pr_curves

    @property
    def hparams(self) -> dict[str, bool | float | str]:
        """Name to hyperparameter."""
        return self._read().hparams

    @property
    def subruns(self) -> "dict[str, MemoryWriter]":
        """Name to the writer of that sub-run."""
        return dict(self._subruns)

    def write(self, steps: Sequence[Step]) -> None:
        """Keep everything of some steps that are finished already."""
        self._gatherer.seal()
        self._received.items.extend(steps)

    def subrun(self, name: str) -> "MemoryWriter":
        """The writer of the sub-run `name`; the same one each time."""
        return self._subruns.setdefault(check_name(name), MemoryWriter())

    def flush(self) -> None:
        """Close the step at hand: what comes later replaces nothing of it."""
        self._gatherer.seal()

    def close(self) -> None:
        """Close the means of curves; what was written can be looked at afterwards."""
        self._gatherer.seal(ended=True)

    def _read(self) -> _Contents:
        self._gatherer.seal()
        contents = self._contents
        for host in self._received.take():
            step = host.step
            for tag, number in host.scalars.items():
                contents.scalars.setdefault(tag, []).append((step, number))
            for tag, histogram in host.histograms.items():
                contents.histograms.setdefault(tag, []).append((step, histogram.as_histogram()))
            for tag, text in host.texts.items():
                contents.texts.setdefault(tag, []).append((step, text))
            for tag, pixels in host.images.items():
                contents.images.setdefault(tag, []).append((step, torch.from_numpy(pixels)))
            for tag, curve in host.pr_curves.items():
                contents.pr_curves.setdefault(tag, []).append((step, torch.from_numpy(curve)))
            contents.hparams |= host.hparams
        return contents
