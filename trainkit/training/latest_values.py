"""What passes through the writer's thread on its way to the event file, remembered."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from trainkit.writers.protocol import Histogram
from trainkit.writers.step.host_step import HostBlock, HostStep, ScalarChunk

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Newest"]


class Newest:
    """A writer that keeps the newest scalars, and where something was first not finite.

    It stands beside the event file behind the background writer: there the values are on the
    host already, so that a progress bar and a summary cost the training nothing.

    A tag counts as not finite where its value is NaN or infinite, or, where its name ends in
    `non_finite`, a count above 0.

    Args:
        keep: Tags, or beginnings of tags that end in a slash, whose newest value is kept.
        alarm: Told of the step and its tags that were not finite for the first time; in the
            thread of whoever writes.
    """

    def __init__(
        self, *keep: str, alarm: Callable[[int, Sequence[str]], None] | None = None
    ) -> None:
        self._keep = keep
        self._alarm = alarm
        self._chosen: dict[int, tuple[tuple[str, ...], list[int], list[int]]] = {}
        self.values: dict[str, float] = {}
        self.non_finite: dict[str, int] = {}

    def write_steps(self, host_steps: Sequence[HostStep]) -> None:
        """Look at everything of some steps."""
        for host_step in host_steps:
            new: list[str] = []
            for chunk in host_step.scalars:
                new += self._look(host_step.step, chunk)
            self._tell(host_step.step, new)

    def write_block(self, block: HostBlock) -> None:
        """Look at the points of a curve: at each where one is not finite, else at the newest."""
        if not len(block.steps):
            return
        if not np.isfinite(block.values).all():
            self.write_steps(block.alone())
        else:
            self._look(int(block.steps[-1]), ScalarChunk(block.tags, block.values[-1]))

    def write_scalars(self, step: int, scalars: Mapping[str, Tensor | float]) -> None:
        """Look at the values."""
        numbers = np.array([float(value) for value in scalars.values()])
        self._tell(step, self._look(step, ScalarChunk(tuple(scalars), numbers)))

    def write_histograms(self, step: int, histograms: Mapping[str, Tensor | Histogram]) -> None:
        """Nothing is kept: the statistics of the same tensors come as scalars."""

    def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
        """Nothing is kept."""

    def write_images(self, step: int, images: Mapping[str, Tensor]) -> None:
        """Nothing is kept."""

    def write_figures(self, step: int, figures: "Mapping[str, Figure]") -> None:
        """Nothing is kept."""

    def write_hparams(self, step: int, hparams: Mapping[str, bool | float | str]) -> None:
        """Nothing is kept."""

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """What was kept stays readable."""

    def _tell(self, step: int, new: Sequence[str]) -> None:
        if new and self._alarm is not None:
            self._alarm(step, new)

    def _look(self, step: int, chunk: ScalarChunk) -> list[str]:
        """Returns the tags that were not finite for the first time."""
        tags, values = chunk
        kept, counts = self._positions(tags)
        for i in kept:
            self.values[tags[i]] = float(values[i])
        finite = np.isfinite(values)
        bad = [] if finite.all() else np.flatnonzero(~finite).tolist()
        new = []
        for i in [*bad, *(i for i in counts if values[i] > 0)]:
            if tags[i] not in self.non_finite:
                self.non_finite[tags[i]] = step
                new.append(tags[i])
        return new

    def _positions(self, tags: tuple[str, ...]) -> tuple[list[int], list[int]]:
        # Monitors write the same tuple of tags again and again.
        found = self._chosen.get(id(tags))
        if found is None or found[0] is not tags:
            if len(self._chosen) > 64:
                self._chosen.clear()
            kept = [i for i, tag in enumerate(tags) if self._is_kept(tag)]
            counts = [i for i, tag in enumerate(tags) if tag.endswith("non_finite")]
            found = self._chosen[id(tags)] = (tags, kept, counts)
        return found[1], found[2]

    def _is_kept(self, tag: str) -> bool:
        return any(tag == name or (name[-1] == "/" and tag.startswith(name)) for name in self._keep)
