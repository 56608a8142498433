"""The verbs of every writer that gathers a step before it passes it on."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from trainkit.writers.front import Gatherer
from trainkit.writers.protocol import Curve, Histogram, Point, Scalars
from trainkit.writers.step.pending import Gathering

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["GatheringWriter"]


class GatheringWriter(ABC):
    """Hands everything that is written to a gatherer; what becomes of a step is its business.

    Args:
        gatherer: Collects the step.
    """

    def __init__(self, gatherer: Gatherer) -> None:
        self._gatherer = gatherer

    def write_scalars(self, step: int, scalars: Mapping[str, Tensor | float]) -> None:
        """Write numbers: 0-d (or one-element) tensors of any real dtype, or Python numbers."""
        if type(scalars) is Point:
            self._gatherer.add_point(step, scalars.curve, scalars.numbers)
        elif isinstance(scalars, Scalars):
            self._gatherer.add(step, Gathering.keep_scalars, scalars)
        else:
            self._gatherer.add(step, Gathering.add_scalars, scalars)

    def points(self, curve: Curve) -> Callable[[int, tuple[float, ...] | Tensor], None]:
        """`write_scalars(step, Point(curve, values))` as a function of `step` and `values`.

        It does the same with a tenth of the operations, for what is written in every iteration.
        Where a subclass or a user has put another `write_scalars` in place, that is called.
        """
        if getattr(self.write_scalars, "__func__", None) is GatheringWriter.write_scalars:
            return self._gatherer.points(curve)
        return lambda step, numbers: self.write_scalars(step, Point(curve, numbers))

    def write_histograms(self, step: int, histograms: Mapping[str, Tensor | Histogram]) -> None:
        """Write distributions: raw values of any shape and real dtype, or finished histograms."""
        self._gatherer.add(step, Gathering.add_histograms, histograms)

    def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
        """Write texts; TensorBoard renders them as Markdown."""
        self._gatherer.add(step, Gathering.add_texts, texts)

    def write_images(self, step: int, images: Mapping[str, Tensor]) -> None:
        """Write images: `[H, W]`, `[C, H, W]` or `[N, C, H, W]`, C in 1, 3, 4; uint8 or [0, 1]."""
        self._gatherer.add(step, Gathering.add_images, images)

    def write_figures(self, step: int, figures: "Mapping[str, Figure]") -> None:
        """Write matplotlib figures as images; they are drawn now and stay open."""
        self._gatherer.add(step, Gathering.add_figures, figures)

    def write_hparams(self, step: int, hparams: Mapping[str, bool | float | str]) -> None:
        """Write what the run was started with, for TensorBoard's HPARAMS table."""
        self._gatherer.add(step, Gathering.add_hparams, hparams)

    @abstractmethod
    def flush(self) -> None:
        """Return when everything written so far can be read by others."""

    @abstractmethod
    def close(self) -> None:
        """Flush and release everything; closing twice is harmless."""
