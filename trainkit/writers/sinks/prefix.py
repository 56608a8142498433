"""A name before every tag."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

from torch import Tensor

from trainkit.writers.protocol import Curve, Histogram, Histograms, Point, Scalars, Writer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PrefixWriter"]

_Value = TypeVar("_Value")


class PrefixWriter:
    """Writes everything to another writer, under `<prefix>/<tag>`.

    Args:
        writer: Where it goes. It stays its owner's to close.
        prefix: Without the slash.

    Example:
        >>> from trainkit.writers import MemoryWriter
        >>> memory = MemoryWriter()
        >>> PrefixWriter(memory, "validation").write_scalars(1, {"loss/total": 2.0})
        >>> memory.scalars
        {'validation/loss/total': [(1, 2.0)]}
    """

    def __init__(self, writer: Writer, prefix: str) -> None:
        self._writer = writer
        self._prefix = f"{prefix}/"
        # The tags of a run repeat at every step.
        self._known: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._curves: dict[Curve, Curve] = {}

    @property
    def takes_deferred(self) -> bool:
        """Whether the other writer takes images and texts that are `Deferred`."""
        return getattr(self._writer, "takes_deferred", False)

    def __repr__(self) -> str:
        return f"PrefixWriter({self._writer!r}, {self._prefix[:-1]!r})"

    def write_scalars(self, step: int, scalars: Mapping[str, Tensor | float]) -> None:
        """Write numbers."""
        if isinstance(scalars, Scalars):
            self._writer.write_scalars(step, scalars.renamed(self._tags(scalars.tags)))
        elif isinstance(scalars, Point):
            self._writer.write_scalars(step, Point(self._curve(scalars.curve), scalars.numbers))
        else:
            self._writer.write_scalars(step, self._under(scalars))

    def write_histograms(self, step: int, histograms: Mapping[str, Tensor | Histogram]) -> None:
        """Write distributions."""
        if isinstance(histograms, Histograms):
            h = histograms
            self._writer.write_histograms(
                step, Histograms(self._tags(h.tags), h.counts, h.edges, h.moments, h.non_finite)
            )
        else:
            self._writer.write_histograms(step, self._under(histograms))

    def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
        """Write texts."""
        self._writer.write_texts(step, self._under(texts))

    def write_images(self, step: int, images: Mapping[str, Tensor]) -> None:
        """Write images."""
        self._writer.write_images(step, self._under(images))

    def write_figures(self, step: int, figures: "Mapping[str, Figure]") -> None:
        """Write figures."""
        self._writer.write_figures(step, self._under(figures))

    def write_hparams(self, step: int, hparams: Mapping[str, bool | float | str]) -> None:
        """Write hyperparameters."""
        self._writer.write_hparams(step, self._under(hparams))

    def flush(self) -> None:
        """Flush the other writer."""
        self._writer.flush()

    def close(self) -> None:
        """Flush the other writer; it stays open."""
        self._writer.flush()

    def _under(self, values: Mapping[str, _Value]) -> dict[str, _Value]:
        return {self._prefix + tag: value for tag, value in values.items()}

    def _curve(self, curve: Curve) -> Curve:
        known = self._curves.get(curve)
        if known is None:
            known = self._curves[curve] = Curve(self._tags(curve.tags), curve.description)
        return known

    def _tags(self, tags: tuple[str, ...]) -> tuple[str, ...]:
        known = self._known.get(tags)
        if known is None:
            if len(self._known) == 16:
                self._known.clear()
            self._known[tags] = known = tuple(self._prefix + tag for tag in tags)
        return known
