"""One writer for several."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from trainkit.writers.delivery import Delivery
from trainkit.writers.outage import failing
from trainkit.writers.protocol import Histogram, Writer
from trainkit.writers.sinks.subruns import subrun
from trainkit.writers.step.host_step import HostBlock, HostStep, write_steps

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["SeveralWriter"]


class SeveralWriter:
    """Writes everything to every one of its writers, in their order.

    One that fails costs itself only: the others get everything, and one line in the log says so,
    and one when it works again, with what was lost. What comes from a background writer is kept
    for it and tried again. A value of the wrong kind is the caller's fault: every writer is asked,
    then the first one's TypeError or ValueError is raised, with the others' in its notes.

    Each of them reads the device for itself. Put the whole behind one background writer, as
    `BackgroundWriter(SeveralWriter(a, b))`, and it is read once for all of them.

    Args:
        writers: Closed with this one.

    Example:
        >>> from trainkit.writers import MemoryWriter
        >>> one, other = MemoryWriter(), MemoryWriter()
        >>> SeveralWriter(one, other).write_scalars(1, {"loss/total": 2.0})
        >>> one.scalars == other.scalars == {"loss/total": [(1, 2.0)]}
        True
    """

    def __init__(self, *writers: Writer) -> None:
        self.writers = writers
        self._deliveries = [
            Delivery(repr(writer), partial(write_steps, writer), together=True)
            for writer in writers
        ]
        self._subruns: dict[str, SeveralWriter] = {}

    def __repr__(self) -> str:
        return f"SeveralWriter({', '.join(map(repr, self.writers))})"

    @property
    def failing(self) -> BaseException | None:
        """What keeps one of them from writing now; None where all is well."""
        pairs = zip(self.writers, self._deliveries, strict=True)
        found = (delivery.outage.error or failing(writer) for writer, delivery in pairs)
        return next((error for error in found if error is not None), None)

    def write_scalars(self, step: int, scalars: Mapping[str, Tensor | float]) -> None:
        """Write numbers."""
        self._each(step, lambda writer: writer.write_scalars(step, scalars))

    def write_histograms(self, step: int, histograms: Mapping[str, Tensor | Histogram]) -> None:
        """Write distributions."""
        self._each(step, lambda writer: writer.write_histograms(step, histograms))

    def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
        """Write texts."""
        self._each(step, lambda writer: writer.write_texts(step, texts))

    def write_images(self, step: int, images: Mapping[str, Tensor]) -> None:
        """Write images."""
        self._each(step, lambda writer: writer.write_images(step, images))

    def write_figures(self, step: int, figures: "Mapping[str, Figure]") -> None:
        """Write figures."""
        self._each(step, lambda writer: writer.write_figures(step, figures))

    def write_hparams(self, step: int, hparams: Mapping[str, bool | float | str]) -> None:
        """Write hyperparameters."""
        self._each(step, lambda writer: writer.write_hparams(step, hparams))

    def write_steps(self, host_steps: Sequence[HostStep]) -> None:
        """Write everything of some steps that is on the host already."""
        for delivery in self._deliveries:
            delivery.write(host_steps)

    def write_block(self, block: HostBlock) -> None:
        """Write all points of a block."""
        for delivery in self._deliveries:
            delivery.write([block])

    def subrun(self, name: str) -> "SeveralWriter":
        """The sub-run of each of the writers; the same ones each time."""
        if name not in self._subruns:
            self._subruns[name] = SeveralWriter(*(subrun(w, name) for w in self.writers))
        return self._subruns[name]

    def flush(self) -> None:
        """Flush every writer."""
        for writer, delivery in zip(self.writers, self._deliveries, strict=True):
            delivery.retry()
            delivery.attempt(writer.flush)

    def close(self) -> None:
        """Close every writer."""
        for writer, delivery in zip(self.writers, self._deliveries, strict=True):
            delivery.close(writer.close)

    def _each(self, step: int, act: Callable[[Writer], None]) -> None:
        mistakes: list[Exception] = []
        for writer, delivery in zip(self.writers, self._deliveries, strict=True):
            try:
                act(writer)
            except (TypeError, ValueError) as error:
                mistakes.append(error)
            except Exception as error:
                delivery.outage.fail(error)
                delivery.outage.lose(step, step, 1)
            else:
                delivery.outage.end()
        if mistakes:
            first, *others = mistakes
            for other in others:
                first.add_note(f"another writer: {type(other).__name__}: {other}")
            raise first
