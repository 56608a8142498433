"""What is written: scalars, histograms and points of curves, on the way to a writer."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, float64, from_numpy, full, nan, tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Curve",
    "Histogram",
    "Histograms",
    "Layout",
    "LeftOut",
    "Point",
    "Scalars",
    "check_finished",
]


class LeftOut(Exception):  # noqa: N818 - nothing went wrong
    """What a `finish` raises where its values are not to be written; it has said why itself."""


@dataclass(frozen=True, eq=False)
class Layout:
    """Tags, and how the values under them are computed on the host; see `Scalars`.

    Make it once for a set of names and use the same object at every step.

    Args:
        tags: One per value, all different.
        finish: Makes the values from the parts, as in `Scalars`.
        largest: How many values are written, as in `Scalars`.

    Example:
        >>> import torch
        >>> layout = Layout(("sum",), finish=lambda x: x.sum(-1, keepdims=True))
        >>> dict(Scalars(layout, torch.tensor([1.0, 2.0])))
        {'sum': tensor(3.)}
    """

    tags: tuple[str, ...]
    finish: "Callable[..., NDArray[Any]] | None" = None
    largest: int | None = None


class Scalars(Mapping[str, Tensor]):
    """Many scalars under their tags, kept as the few tensors that they were computed as.

    To everybody it is a mapping from tag to 0-d tensor. Writers that know it take the tensors
    whole: no launch and no Python object per value on the training thread. What remains to be
    computed of a few numbers (a norm of norms, a mean by module) is left to `finish`, which the
    writer's thread calls when the tensors have left the device.

    Args:
        tags: One tag per value, all different; or a `Layout`, which has `finish` and `largest` too.
        parts: The values, shape `[len(tags)]`, on any device; or, with `finish`, tensors of any
            shape. They are handed over: do not write into them afterwards.
        finish: Makes the values from the parts as NumPy arrays (bf16 and fp16 come as float32).
            It may be called for several steps at once: each array has the steps in front,
            `[S, ...]`, and the result has shape `[S, len(tags)]`. The training thread does not
            call it. Give the same function and the same tags at every step.
        largest: Of the values, only so many are to be written: the largest, NaN first of all.
            None: all.

    Raises:
        ValueError: The number of tags and the shape of the values do not agree.

    Example:
        >>> import numpy, torch
        >>> dict(Scalars(("a", "b"), torch.tensor([1.0, 2.0])))
        {'a': tensor(1.), 'b': tensor(2.)}
        >>> dict(Scalars(("a", "b"), torch.tensor([1.0, 2.0, 3.0]), finish=lambda x: x[:, 1:] ** 2))
        {'a': tensor(4.), 'b': tensor(9.)}
    """

    __slots__ = ("_values", "finish", "largest", "layout", "parts", "tags")

    def __init__(
        self,
        tags: Sequence[str] | Layout,
        parts: Tensor | Sequence[Tensor],
        *,
        finish: Callable[..., "NDArray[Any]"] | None = None,
        largest: int | None = None,
    ) -> None:
        #: The layout that was given; None: tags and functions came one by one.
        self.layout: Layout | None = None
        if isinstance(tags, Layout):
            if finish is not None or largest is not None:
                raise TypeError("a Layout has finish and largest already: pass them to it")
            self.layout = tags
            finish, largest, tags = tags.finish, tags.largest, tags.tags
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
        self.largest = largest
        self._values: dict[str, Tensor] | None = None

    def renamed(self, tags: Sequence[str]) -> "Scalars":
        """The same values under other tags."""
        return Scalars(tags, self.parts, finish=self.finish, largest=self.largest)

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
            found = finish(*(array[None].numpy() for array in arrays))
            return from_numpy(check_finished(found, 1, len(self.tags))[0])
        except LeftOut:  # such a writer expects a value for every tag
            return full((len(self.tags),), nan)


def check_finished(found: "NDArray[Any]", steps: int, tags: int) -> "NDArray[Any]":
    """Return what a `finish` has returned, if its shape is `[steps, tags]`.

    Raises:
        ValueError: It has another shape.
    """
    if found.shape != (steps, tags):
        raise ValueError(
            f"expected values of shape [{steps}, {tags}], got {list(found.shape)}: finish gets "
            "arrays with the steps in front, [S, ...], and returns one row of values per step"
        )
    return found


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

    Example:
        >>> from trainkit import Curve, MemoryWriter, Point
        >>> writer, curve = MemoryWriter(), Curve(("loss/total", "loss/mse"))
        >>> writer.write_scalars(1, Point(curve, (0.5, 0.25)))
        >>> writer.scalars["loss/mse"]
        [(1, 0.25)]
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
