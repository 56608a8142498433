"""The Writer protocol: where a number goes."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from torch import Tensor

from trainkit.writers.values import Curve, Histogram, Histograms, LeftOut, Point, Scalars

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from trainkit.writers.step.host_step import Step

__all__ = [
    "Curve",
    "Histogram",
    "Histograms",
    "LeftOut",
    "Point",
    "Reporting",
    "Scalars",
    "Sink",
    "Subruns",
    "Writer",
]


class Writer(Protocol):
    """Where what was measured goes.

    Every verb takes the step first and a mapping from tag to value. A tag is written at most
    once per step; steps do not decrease; nothing is called after `close`. Tensors may be on any
    device; a writer never reads a device more than once for all that was written at one step,
    and what it was given may be overwritten as soon as the call returns (except the tensors in
    `Scalars` and `Histograms`, which are handed over).

    Example:
        >>> from trainkit import MemoryWriter, Writer
        >>> def note(writer: Writer, step: int) -> None:
        ...     writer.write_scalars(step, {"loss/total": 0.5})
        ...     writer.write_texts(step, {"note": "half way"})
        >>> writer = MemoryWriter()
        >>> note(writer, 3)
        >>> writer.scalars, writer.texts
        ({'loss/total': [(3, 0.5)]}, {'note': [(3, 'half way')]})
    """

    def write_scalars(self, step: int, scalars: Mapping[str, Tensor | float]) -> None:
        """Write numbers: 0-d (or one-element) tensors of any real dtype, or Python numbers."""

    def write_histograms(self, step: int, histograms: Mapping[str, Tensor | Histogram]) -> None:
        """Write distributions: raw values of any shape and real dtype, or finished histograms."""

    def write_texts(self, step: int, texts: Mapping[str, str]) -> None:
        """Write texts; TensorBoard renders them as Markdown."""

    def write_images(self, step: int, images: Mapping[str, Tensor]) -> None:
        """Write images: `[H, W]`, `[C, H, W]` or `[N, C, H, W]`, C in 1, 3, 4; uint8 or [0, 1].

        Writers of this package take a `Deferred` too; other writers get what it makes.
        """

    def write_figures(self, step: int, figures: "Mapping[str, Figure]") -> None:
        """Write matplotlib figures as images."""

    def write_hparams(self, step: int, hparams: Mapping[str, bool | float | str]) -> None:
        """Write what the run was started with, for TensorBoard's HPARAMS table."""

    def flush(self) -> None:
        """Return when everything written so far can be read by others."""

    def close(self) -> None:
        """Flush and release everything; closing twice is harmless."""


@runtime_checkable
class Subruns(Protocol):
    """A writer that can open a sibling: the same tag there is drawn on the same chart."""

    def subrun(self, name: str) -> Writer:
        """The writer of the sub-run `name`; it is closed with its parent."""


class Sink(Protocol):
    """Where finished steps go: the three methods that a sink of your own needs.

    Give it to `BackgroundWriter(sink)`, `open_writer(folder, sinks=[sink])`, `SeveralWriter`,
    `attach_monitors(writer=sink)` or any monitor. What stands in front of it gathers the steps,
    reads the device once for each and calls these methods, one at a time; behind a
    `BackgroundWriter` in its thread, so that a slow sink does not slow the training down.

    A sink may raise. One line in the log says so, and the training goes on. The steps of a call
    that raised are kept, up to 16 MiB, and handed over again later: they come again as a whole,
    so a sink should write all of them or none. A step that fails again and again while others are
    taken, or fails with a TypeError or ValueError, is left out.

    A sink may also have `subrun(name)`, which returns the sink of a part of the run such as
    `validation`; it is flushed and closed too. Without it, the tags of that part begin with
    `<name>/`. A sink that never raises may have `failing`, the exception that keeps it from
    writing now, or None.

    Example:
        >>> from trainkit.writers import BackgroundWriter
        >>> class Printing:
        ...     def write(self, steps):
        ...         for step in steps:
        ...             print(step.step, step.scalars)
        ...     def flush(self): ...
        ...     def close(self): ...
        >>> writer = BackgroundWriter(Printing())
        >>> writer.write_scalars(1, {"loss/total": 0.5})
        >>> writer.close()
        1 {'loss/total': 0.5}
    """

    def write(self, steps: Sequence["Step"]) -> None:
        """Write all of these steps, in order."""

    def flush(self) -> None:
        """Return when everything written so far can be read by others."""

    def close(self) -> None:
        """Release everything; nothing is called afterwards."""


@runtime_checkable
class Reporting(Protocol):
    """A writer that works in a thread of its own, tells what that took, and takes more sinks."""

    @property
    def thread_seconds(self) -> float:
        """Processor time of the thread so far: for numbers, and none of a sub-run's."""

    def add_sink(self, sink: Sink) -> None:
        """Hand everything but sub-runs to one more sink from now on."""

    def remove_sink(self, sink: Sink) -> None:
        """Hand nothing more to a sink that was added."""
