"""The Writer protocol: where a number goes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from torch import Tensor, float64, from_numpy, full, nan, tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

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


class LeftOut(Exception):  # noqa: N818 - nothing went wrong
    """What a `finish` raises where its values are not to be written; it has said why itself."""


class Scalars(Mapping[str, Tensor]):
    """Many scalars under their tags, kept as the few tensors that they were computed as.

    To everybody it is a mapping from tag to 0-d tensor. Writers that know it take the tensors
    whole: no launch and no Python object per value on the training thread. What remains to be
    computed of a few numbers (a norm of norms, a mean by module) is left to `finish`, which the
    writer's thread calls when the tensors have left the device.

    Args:
        tags: One tag per value, all different.
        parts: The values, shape `[len(tags)]`, on any device; or, with `finish`, tensors of any
            shape. They are handed over: do not write into them afterwards.
        finish: Makes the values, an array of shape `[len(tags)]`, of the parts as NumPy arrays
            (bf16 and fp16 come as float32). It is called once, and not by the training thread.
        together: Whether `finish` computes the values of several steps in one call: each part then
            has one more dimension in front, and the array that is returned has it too. Give the
            same function and the same tags at every step.
        largest: Of the values, only so many are to be written: the largest, NaN first of all.
            None: all.

    Raises:
        ValueError: The number of tags and the shape of the values do not agree.

    Example:
        >>> import numpy, torch
        >>> dict(Scalars(("a", "b"), torch.tensor([1.0, 2.0])))
        {'a': tensor(1.), 'b': tensor(2.)}
        >>> dict(Scalars(("a", "b"), torch.tensor([1.0, 2.0, 3.0]), finish=lambda x: x[1:] ** 2))
        {'a': tensor(4.), 'b': tensor(9.)}
    """

    __slots__ = ("_values", "finish", "largest", "parts", "tags", "together")

    def __init__(
        self,
        tags: Sequence[str],
        parts: Tensor | Sequence[Tensor],
        *,
        finish: Callable[..., "NDArray[Any]"] | None = None,
        together: bool = False,
        largest: int | None = None,
    ) -> None:
        self.tags = tags if type(tags) is tuple else tuple(tags)
        if type(parts) is not tuple:
            parts = (parts,) if isinstance(parts, Tensor) else tuple(parts)
        self.parts: tuple[Tensor, ...] = parts
        if finish is None and [part.shape for part in self.parts] != [(len(self.tags),)]:
            raise ValueError(
                f"values must have shape [{len(self.tags)}], one per tag, got "
                f"{' and '.join(str(list(part.shape)) for part in self.parts)}"
            )
        self.finish = finish
        self.together = together
        self.largest = largest
        self._values: dict[str, Tensor] | None = None

    def renamed(self, tags: Sequence[str]) -> "Scalars":
        """The same values under other tags."""
        return Scalars(
            tags, self.parts, finish=self.finish, together=self.together, largest=self.largest
        )

    def __getitem__(self, tag: str) -> Tensor:
        if self._values is None:
            values = self.parts[0] if self.finish is None else self._finished(self.finish)
            self._values = dict(zip(self.tags, values.unbind(), strict=True))
        return self._values[tag]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tags)

    def __len__(self) -> int:
        return len(self.tags)

    def _finished(self, finish: "Callable[..., NDArray[Any]]") -> Tensor:
        # For a writer that knows nothing of this: it reads the device, as it would any tensor.
        arrays = [
            part.cpu().float() if part.is_floating_point() else part.cpu() for part in self.parts
        ]
        try:
            return from_numpy(finish(*(array.numpy() for array in arrays)))
        except LeftOut:  # such a writer expects a value for every tag
            return full((len(self.tags),), nan)


@dataclass(frozen=True, eq=False)
class Curve:
    """Numbers that come in every iteration, under the same tags each time.

    A curve is exact, a point for each iteration, for the first 10,000 of them. Beyond, points are
    means: the next 10,000 of two iterations each, then of four, of eight, and so on, each at the
    step of its last iteration. The last iteration is a point by itself. NaN makes its mean NaN.

    Args:
        tags: Of the numbers.
        description: What they are: it stands in the event file, and TensorBoard's SCALARS shows
            it, with a sentence about the means.
    """

    tags: tuple[str, ...]
    description: str = ""


class Point(Mapping[str, Tensor]):
    """What a curve is in one iteration; to everybody a mapping of its tags.

    It goes through `write_scalars`, like everything else. A writer that knows it keeps the points
    of many iterations together, and reads and writes them a few times a second: the cheap way to
    write a few numbers in every iteration.

    Args:
        curve: The same object in every iteration.
        values: A number for each tag; or one tensor of shape `[tags]`, which is handed over: do
            not write into it afterwards.

    Example:
        >>> from trainkit.writers import MemoryWriter
        >>> writer, curve = MemoryWriter(), Curve(("loss/total",))
        >>> for step in (1, 2):
        ...     writer.write_scalars(step, Point(curve, (1.0 / step,)))
        >>> writer.scalars
        {'loss/total': [(1, 1.0), (2, 0.5)]}
    """

    __slots__ = ("curve", "numbers")

    def __init__(self, curve: Curve, values: tuple[float, ...] | Tensor) -> None:
        self.curve = curve
        self.numbers = values

    def __getitem__(self, tag: str) -> Tensor:
        value = self.numbers[self.curve.tags.index(tag)]
        return value if isinstance(value, Tensor) else tensor(value, dtype=float64, device="cpu")

    def __iter__(self) -> Iterator[str]:
        return iter(self.curve.tags)

    def __len__(self) -> int:
        return len(self.curve.tags)


@dataclass(frozen=True, eq=False)
class Histogram:
    """Bucket counts and moments of one tensor, still on its device.

    Non-finite elements are in no bucket and in no moment, only in `non_finite`.

    Args:
        counts: Elements per bucket, int64, shape `[B]`.
        edges: Bucket limits, ascending, float64, shape `[B + 1]`; bucket i holds
            `edges[i] <= x < edges[i + 1]` (the last one its upper limit too).
        moments: float64, shape `[4]`: minimum, maximum, sum, sum of squares of the finite
            elements; all zero where there is none.
        non_finite: Number of NaN and infinite elements, int64, 0-d.

    Example:
        >>> import torch
        >>> from trainkit import Histogram, MemoryWriter
        >>> one_two_two = Histogram(
        ...     counts=torch.tensor([1, 2]),
        ...     edges=torch.tensor([1.0, 1.5, 2.0], dtype=torch.float64),
        ...     moments=torch.tensor([1.0, 2.0, 5.0, 9.0], dtype=torch.float64),
        ...     non_finite=torch.tensor(0),
        ... )
        >>> writer = MemoryWriter()
        >>> writer.write_histograms(1, {"values": one_two_two})
        >>> writer.histograms["values"][0][1].counts
        tensor([1, 2])
    """

    counts: Tensor
    edges: Tensor
    moments: Tensor
    non_finite: Tensor


class Histograms(Mapping[str, Histogram]):
    """Many histograms under their tags, kept as the few tensors that they were computed as.

    Args:
        tags: One tag per histogram, all different.
        counts: int64, shape `[N, B]`.
        edges: float64, shape `[B + 1]` where all share them, else `[N, B + 1]`.
        moments: float64, shape `[N, 4]`, as in `Histogram`.
        non_finite: int64, shape `[N]`.

    Example:
        >>> import torch
        >>> from trainkit import Histograms, MemoryWriter
        >>> both = Histograms(
        ...     ("a", "b"),
        ...     counts=torch.tensor([[1, 2], [0, 3]]),
        ...     edges=torch.tensor([1.0, 1.5, 2.0], dtype=torch.float64),
        ...     moments=torch.tensor([[1, 2, 5, 9], [2, 2, 6, 12]], dtype=torch.float64),
        ...     non_finite=torch.tensor([0, 0]),
        ... )
        >>> writer = MemoryWriter()
        >>> writer.write_histograms(1, both)
        >>> [(tag, found[0][1].counts.tolist()) for tag, found in writer.histograms.items()]
        [('a', [1, 2]), ('b', [0, 3])]
    """

    __slots__ = ("_index", "counts", "edges", "moments", "non_finite", "tags")

    def __init__(
        self,
        tags: Sequence[str],
        counts: Tensor,
        edges: Tensor,
        moments: Tensor,
        non_finite: Tensor,
    ) -> None:
        n, buckets = len(tags), edges.shape[-1] - 1
        found = [list(t.shape) for t in (counts, moments, non_finite)]
        if found != [[n, buckets], [n, 4], [n]] or edges.shape[:-1] not in ((), (n,)):
            raise ValueError(
                f"counts, moments and non_finite must have shapes [{n}, {buckets}], [{n}, 4] "
                f"and [{n}], and edges [{buckets + 1}] or [{n}, {buckets + 1}]; got {found[0]}, "
                f"{found[1]}, {found[2]} and {list(edges.shape)}"
            )
        self.tags = tuple(tags)
        self.counts, self.edges, self.moments, self.non_finite = counts, edges, moments, non_finite
        self._index: dict[str, int] | None = None

    def __getitem__(self, tag: str) -> Histogram:
        if self._index is None:
            self._index = {tag: i for i, tag in enumerate(self.tags)}
        i = self._index[tag]
        edges = self.edges if self.edges.ndim == 1 else self.edges[i]
        return Histogram(self.counts[i], edges, self.moments[i], self.non_finite[i])

    def __iter__(self) -> Iterator[str]:
        return iter(self.tags)

    def __len__(self) -> int:
        return len(self.tags)


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
