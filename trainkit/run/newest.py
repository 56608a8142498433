"""What passes through the writer's thread on its way to the event file, remembered."""

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import TYPE_CHECKING

from torch import Tensor

from trainkit.writers.protocol import Histogram, Scalars

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
    """

    def __init__(self, *keep: str) -> None:
        self._keep = keep
        self.values: dict[str, float] = {}
        self.non_finite: dict[str, int] = {}

    def write_scalars(self, step: int, scalars: Mapping[str, Tensor | float]) -> None:
        """Look at the values."""
        for tag, value in _numbers(scalars):
            bad = value > 0 if tag.endswith("non_finite") else not isfinite(value)
            if bad and tag not in self.non_finite:
                self.non_finite[tag] = step
            if any(
                tag == name or (name[-1] == "/" and tag.startswith(name)) for name in self._keep
            ):
                self.values[tag] = value

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


def _numbers(scalars: Mapping[str, Tensor | float]) -> Iterator[tuple[str, float]]:
    if isinstance(scalars, Scalars):
        yield from zip(scalars.tags, scalars.values_tensor.double().tolist(), strict=True)
    else:
        for tag, value in scalars.items():
            yield tag, float(value)
