"""One writer for several."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from torch import Tensor

from trainkit.writers.as_sink import StepWriter, as_sink, is_sink
from trainkit.writers.delivery import Deliveries
from trainkit.writers.front import SinkWriter
from trainkit.writers.protocol import Histogram, Sink, Writer
from trainkit.writers.sinks.subruns import subrun
from trainkit.writers.step.host_step import Step

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["SeveralWriter"]


class SeveralWriter(StepWriter):
    """Writes everything to every one of its writers, in their order.

    One that fails costs itself only: the others get everything, and one line in the log says so,
    and one when it works again, with what was lost. What comes from a background writer is kept
    for it and tried again. A value of the wrong kind is the caller's fault: every writer is asked,
    then the first one's TypeError or ValueError is raised, with the others' in its notes.

    Each of them reads the device for itself. Put the whole behind one background writer, as
    `BackgroundWriter(SeveralWriter(a, b))`, and it is read once for all of them.

    Args:
        writers: Writers, or sinks; closed with this one.

    Raises:
        TypeError: One of them is neither.

    Example:
        >>> from trainkit.writers import MemoryWriter
        >>> one, other = MemoryWriter(), MemoryWriter()
        >>> SeveralWriter(one, other).write_scalars(1, {"loss/total": 2.0})
        >>> one.scalars == other.scalars == {"loss/total": [(1, 2.0)]}
        True
    """

    def __init__(self, *writers: Writer | Sink) -> None:
        self.writers: tuple[Writer, ...] = tuple(map(_as_writer, writers))
        self._deliveries = Deliveries([as_sink(writer) for writer in self.writers])
        self._subruns: dict[str, SeveralWriter] = {}

    @property
    def takes_deferred(self) -> bool:
        """Whether all of them take images and texts that are `Deferred`."""
        return all(getattr(writer, "takes_deferred", False) for writer in self.writers)

    def __repr__(self) -> str:
        return f"SeveralWriter({', '.join(map(repr, self.writers))})"

    @property
    def failing(self) -> BaseException | None:
        """What keeps one of them from writing now; None where all is well."""
        return self._deliveries.failing

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

    def write(self, steps: Sequence[Step]) -> None:
        """Write everything of some steps that are finished already."""
        self._deliveries.write(steps)

    def subrun(self, name: str) -> "SeveralWriter":
        """The sub-run of each of the writers; the same ones each time."""
        if name not in self._subruns:
            self._subruns[name] = SeveralWriter(*(subrun(w, name) for w in self.writers))
        return self._subruns[name]

    def flush(self) -> None:
        """Flush every writer."""
        self._deliveries.flush()

    def close(self) -> None:
        """Close every writer."""
        self._deliveries.close()

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


def _as_writer(target: Writer | Sink) -> Writer:
    return SinkWriter(target) if is_sink(target) else cast("Writer", target)
