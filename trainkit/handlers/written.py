"""What a monitor has written, and when it last did."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from trainkit.writers.guarded import unguarded
from trainkit.writers.protocol import Curve, Histogram, Histograms, Point, Scalars, Writer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["NotingWriter"]

# So many sets of tags are known by their identity; a monitor has one or two.
_FEW = 8


class NotingWriter:
    """Hands everything on, and notes under how many tags and at which step it was written.

    Args:
        writer: Gets everything.
    """

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.tags: set[str] = set()
        self.last: int | None = None
        # Tags that were noted, by their ids; they are kept, so that no id is given away again.
        self._known: dict[int, tuple[str, ...]] = {}

    def __repr__(self) -> str:
        return repr(self.writer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.writer, name)

    def __str__(self) -> str:
        """What was written, in a few words."""
        if self.last is None:
            return "nothing written so far"
        found = len(self.tags)
        return f"{found} tag{'s' if found != 1 else ''} written, last at iteration {self.last}"

    def write_scalars(self, step: int, scalars: Mapping[str, Tensor | float]) -> None:
        """Write numbers."""
        self.writer.write_scalars(step, scalars)
        self._note(step, scalars)

    def points(self, curve: Curve) -> "Callable[[int, tuple[float, ...] | Tensor], None] | None":
        """What writes points of a curve with few operations, where the writer has such a thing.

        What is written with it is not noted (set `last`), and what it raises is not kept in.
        """
        found = getattr(unguarded(self.writer), "points", None)
        return None if found is None else found(curve)

    def write_histograms(self, step: int, histograms: Mapping[str, Tensor | Histogram]) -> None:
        """Write distributions."""
        self.writer.write_histograms(step, histograms)
        self._note(step, histograms)

    def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
        """Write texts."""
        self.writer.write_texts(step, texts)
        self._note(step, texts)

    def write_images(self, step: int, images: Mapping[str, Tensor]) -> None:
        """Write images."""
        self.writer.write_images(step, images)
        self._note(step, images)

    def write_figures(self, step: int, figures: "Mapping[str, Figure]") -> None:
        """Write figures."""
        self.writer.write_figures(step, figures)
        self._note(step, figures)

    def write_hparams(self, step: int, hparams: Mapping[str, bool | float | str]) -> None:
        """Write what the run was started with."""
        self.writer.write_hparams(step, hparams)

    def flush(self) -> None:
        """Flush the writer."""
        self.writer.flush()

    def close(self) -> None:
        """Close the writer."""
        self.writer.close()

    def _note(self, step: int, values: Mapping[str, Any]) -> None:
        # Called at each write: a look at the identity of the tags, mostly.
        self.last = step
        kind = type(values)
        if kind is Scalars or kind is Point or kind is Histograms:
            tags = values.curve.tags if kind is Point else values.tags  # type: ignore[attr-defined]
            if self._known.get(id(tags)) is tags:
                return
            if kind is Scalars and values.largest is not None:  # type: ignore[attr-defined]
                return  # a few of many: which, is known when they have left the device
            if len(self._known) < _FEW:
                self._known[id(tags)] = tags
            self.tags.update(tags)
        elif not self.tags.issuperset(values):
            self.tags.update(values)
