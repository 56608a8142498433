"""Everything that was written at one step, finished and on the host: what a sink is given."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple, overload

import numpy as np
import torch
from numpy.typing import NDArray

from trainkit.writers.protocol import Histogram

__all__ = ["HostBlock", "HostHistogram", "HostItem", "ScalarChunk", "Step", "Steps", "items_of"]


class ScalarChunk(NamedTuple):
    """Scalars that arrived together; `values` is float64, float32, int64 or int32, shape `[N]`."""

    tags: tuple[str, ...]
    values: NDArray[Any]

    def largest(self, count: int) -> "ScalarChunk":
        """The largest of them, in their order; NaN counts as larger than any number."""
        # sort puts NaN last.
        places = sorted(np.argsort(self.values, kind="stable")[-count:].tolist()) if count else []
        return ScalarChunk(tuple(self.tags[i] for i in places), self.values[places])

    def non_finite(self) -> list[str]:
        """The tags whose values are NaN or infinite."""
        finite = np.isfinite(self.values)
        if finite.all():
            return []
        return [self.tags[i] for i in np.flatnonzero(~finite).tolist()]


class HostHistogram(NamedTuple):
    """A `Histogram` in NumPy arrays."""

    counts: NDArray[np.int64]
    edges: NDArray[np.float64]
    moments: NDArray[np.float64]
    non_finite: int

    def as_histogram(self) -> Histogram:
        """The same in tensors on the CPU."""
        counts, edges, moments = (torch.from_numpy(np.array(x)) for x in self[:3])
        return Histogram(counts, edges, moments, torch.tensor(self.non_finite, device="cpu"))


@dataclass(eq=False)
class Step:
    """Everything that was written at one step, as plain numbers and arrays on the host.

    A sink gets a sequence of these. Most sinks read `step`, `wall_time` and `scalars`.

    Args:
        step: The step of every value.
        wall_time: Time of the first write at this step, in seconds since the epoch.
        chunks: The scalars as arrays, in the order in which they were written. A tag that was
            written twice stands here twice; the last one counts. `scalars` is the mapping.
        histograms: Tag to histogram: `counts` (int64, `[B]`), `edges` (float64, `[B + 1]`),
            `moments` (minimum, maximum, sum, sum of squares) and `non_finite`.
        texts: Tag to Markdown.
        images: Tag to pixels, uint8, shape `[N, C, H, W]`.
        hparams: Name to hyperparameter.
        pr_curves: Tag to precision-recall curve, float32, shape `[6, T]`: see `PrCurve`.
        descriptions: Tag to description, for the tags of a `Curve`.

    Example:
        >>> step = Step.of(3, {"loss/total": 0.5, "lr": 0.1})
        >>> step.step, step.scalars
        (3, {'loss/total': 0.5, 'lr': 0.1})
    """

    step: int
    wall_time: float
    chunks: Sequence[ScalarChunk] = ()
    histograms: Mapping[str, HostHistogram] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    images: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    hparams: Mapping[str, bool | float | str] = field(default_factory=dict)
    pr_curves: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    descriptions: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, step: int, scalars: Mapping[str, float], wall_time: float = 0.0) -> "Step":
        """A step with these scalars, e.g. to test a sink with."""
        values = np.array(list(scalars.values()), np.float64)
        return cls(step, wall_time, [ScalarChunk(tuple(scalars), values)])

    @cached_property
    def scalars(self) -> dict[str, float]:
        """Tag to Python number; of a tag that was written twice, the last one."""
        return {
            tag: value
            for tags, values in self.chunks
            for tag, value in zip(tags, values.tolist(), strict=True)
        }

    def non_finite(self) -> list[str]:
        """The tags of scalars that are NaN or infinite."""
        return [tag for chunk in self.chunks for tag in chunk.non_finite()]


@dataclass(eq=False)
class HostBlock:
    """Points of one curve at several steps, on the host.

    Args:
        tags: Of each point's numbers.
        steps: int64, shape `[S]`.
        times: When, in seconds since the epoch, shape `[S]`.
        values: float64, shape `[S, len(tags)]`.
        description: Of the curve.
    """

    tags: tuple[str, ...]
    steps: NDArray[np.int64]
    times: NDArray[np.float64]
    values: NDArray[np.float64]
    description: str = ""

    def __len__(self) -> int:
        return len(self.steps)

    def alone(self) -> list[Step]:
        """The same, step by step."""
        described = dict.fromkeys(self.tags, self.description) if self.description else {}
        rows = zip(self.steps.tolist(), self.times.tolist(), self.values, strict=True)
        return [
            Step(step, time, [ScalarChunk(self.tags, row)], descriptions=described)
            for step, time, row in rows
        ]


HostItem = Step | HostBlock


class Steps(Sequence[Step]):
    """Finished steps in their order, a sequence of `Step`.

    Points of a curve arrive in blocks. Whoever reads this as a sequence gets an ordinary step for
    each of them; whoever can write a block as a whole reads `items`.

    Args:
        items: Steps and blocks, in order.
    """

    def __init__(self, items: Sequence[HostItem]) -> None:
        self.items = [item for item in items if not isinstance(item, HostBlock) or len(item)]
        self._steps: list[Step] | None = None

    def _each(self) -> list[Step]:
        if self._steps is None:
            self._steps = list(chain.from_iterable(map(_alone, self.items)))
        return self._steps

    @overload
    def __getitem__(self, index: int) -> Step: ...
    @overload
    def __getitem__(self, index: slice) -> list[Step]: ...
    def __getitem__(self, index: int | slice) -> Step | list[Step]:
        return self._each()[index]

    def __iter__(self) -> Iterator[Step]:
        return iter(self._each())

    def __len__(self) -> int:
        return len(self._each())


def items_of(steps: Sequence[Step]) -> Sequence[HostItem]:
    """The steps, with the points of a curve in blocks where they came so."""
    return steps.items if isinstance(steps, Steps) else steps


def _alone(item: HostItem) -> Iterable[Step]:
    return item.alone() if isinstance(item, HostBlock) else (item,)
