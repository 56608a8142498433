"""The front: the verbs of a writer, which gather a step, read its device once and hand it on."""

import os
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from trainkit.writers.as_sink import StepWriter
from trainkit.writers.delivery import Deliveries
from trainkit.writers.folder_names import check_name
from trainkit.writers.gatherer import Gatherer
from trainkit.writers.protocol import Curve, Histogram, Point, Scalars, Sink, Writer
from trainkit.writers.sinks.prefix import PrefixWriter
from trainkit.writers.step.host_step import Step, Steps
from trainkit.writers.step.pending import Gathering
from trainkit.writers.step.to_host import read_items
from trainkit.writers.step.tracks import Block

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Front", "SinkWriter"]


class Front(ABC):
    """The verbs of every writer that gathers a step before it hands it on.

    Args:
        gatherer: Collects the step.
    """

    def __init__(self, gatherer: Gatherer) -> None:
        self._gatherer = gatherer

    @property
    def takes_deferred(self) -> bool:
        """Whether images and texts may be `Deferred`: unless a subclass has verbs of its own."""
        own = type(self)
        return own.write_images is Front.write_images and own.write_texts is Front.write_texts

    @property
    def has_own_verbs(self) -> bool:
        """Whether a subclass or a user has replaced `write_scalars`."""
        return getattr(self.write_scalars, "__func__", None) is not Front.write_scalars

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
        Where a subclass or a user has replaced `write_scalars`, that is called.
        """
        if not self.has_own_verbs:
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


class SinkWriter(Front, StepWriter):
    """Writes to a sink, in the calling thread: reads the device when a step is complete.

    Args:
        sink: Gets finished steps. It is flushed and closed with this writer.
    """

    def __init__(self, sink: Sink) -> None:
        outlet = _Outlet(sink)
        gatherer = Gatherer(outlet)
        super().__init__(gatherer)
        self._sink = sink
        self._outlet = outlet
        self._subruns: dict[str, Writer] = {}
        self._finish_subruns: list[Callable[[], object]] = []
        # Called too when the writer is forgotten, or the interpreter ends.
        self._finish = weakref.finalize(self, _finish, gatherer, outlet, self._finish_subruns)

    def __repr__(self) -> str:
        return f"SinkWriter({self._outlet.deliveries!r})"

    @property
    def failing(self) -> BaseException | None:
        """What keeps it from writing now; None where all is well."""
        return self._outlet.deliveries.failing

    def write(self, steps: Sequence[Step]) -> None:
        """Write everything of some steps that are finished already."""
        self._outlet.check()
        self._gatherer.seal()
        self._outlet.deliveries.write(steps)

    def subrun(self, name: str) -> Writer:
        """The writer of the sub-run; the same one each time, closed with this one.

        Raises:
            TypeError, ValueError: It is no name that a folder can have.
        """
        self._outlet.check()
        if name not in self._subruns:
            if not hasattr(self._sink, "subrun"):
                self._subruns[name] = PrefixWriter(self, check_name(name))
            else:
                self._subruns[name] = writer = self._of_subrun(name)
                # At the end of the interpreter it goes with its parent: who still has something
                # to write to it (a background writer) was made before it, and ends after it.
                writer._finish.atexit = False
                self._finish_subruns.append(writer._finish)
        return self._subruns[name]

    def _of_subrun(self, name: str) -> "SinkWriter":
        return SinkWriter(self._outlet.deliveries.sub_sinks(name)[0])

    def flush(self) -> None:
        """Return when everything written so far, in sub-runs too, can be read by others."""
        self._outlet.check()
        self._gatherer.seal()
        self._outlet.deliveries.flush()
        for writer in list(self._subruns.values()):
            if isinstance(writer, SinkWriter):
                writer.flush()

    def close(self) -> None:
        """Write everything, and close the sink and those of sub-runs; twice is harmless."""
        self._finish()


class _Outlet:
    """Where a `SinkWriter` hands its steps: read at once, and written to the sink."""

    def __init__(self, sink: Sink) -> None:
        self.deliveries = Deliveries([sink])
        self.closed = False
        self.pid = os.getpid()

    def is_ours(self) -> bool:
        """Whether this is the process that made it."""
        return os.getpid() == self.pid

    def check(self) -> None:
        if self.closed:
            raise RuntimeError(f"the writer of {self.deliveries!r} is closed; open a new one")
        if not self.is_ours():
            raise RuntimeError(
                f"the writer of {self.deliveries!r} belongs to process {self.pid}, this is "
                f"{os.getpid()}; open one writer per process, each in its own directory"
            )

    def deliver(self, gathered: Gathering | Block) -> None:
        steps = Steps(read_items([gathered]))
        if steps.items:
            self.deliveries.write(steps)


def _finish(gatherer: Gatherer, outlet: _Outlet, others: list[Callable[[], object]]) -> None:
    # A forked child must leave alone what its parent will write.
    if outlet.closed or not outlet.is_ours():
        return
    try:
        gatherer.seal(ended=True)
    finally:
        outlet.closed = True
        outlet.deliveries.close()
        for finish in others:
            finish()
