"""What is written at one step, kept on its devices until it is read in one go."""

import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trainkit.stats import histograms as histograms_of
from trainkit.writers.deferred import Deferred
from trainkit.writers.protocol import Histogram, Histograms, Scalars
from trainkit.writers.step import transfer
from trainkit.writers.step.images import figure_pixels, pixels
from trainkit.writers.step.mapping import check_real, check_tag, grouped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Gathering"]

_Tags = tuple[str, ...]


class Gathering:
    """Everything that is written at one step.

    What is added is checked at once and kept as it is on its device; what the caller may
    overwrite is copied there, many values with one launch. `read_steps` brings it to the host.

    Args:
        step: Of everything that will be added.
    """

    # What most steps have none of: kept where there is some, and never written into.
    histograms: Sequence[tuple[_Tags, tuple[int, int, int, int]]] = ()
    images: Mapping[str, int] = MappingProxyType({})
    texts: Mapping[str, str] = MappingProxyType({})
    deferred: Mapping[str, tuple[Deferred, Sequence[int]]] = MappingProxyType({})
    hparams: Mapping[str, bool | float | str] = MappingProxyType({})
    streams: Sequence[Any] = ()

    def __init__(self, step: int) -> None:
        self.step = step
        self.wall_time = time.time()
        self.changed = time.monotonic()
        # In the order of writing; ints stand for the positions of tensors in `tensors`.
        self.scalars: list[tuple[Scalars, range] | tuple[_Tags, list[float]]] = []
        self.tensors: list[Tensor] = []

    def add_scalars(self, scalars: Mapping[str, Tensor | float]) -> None:
        """Keep the numbers of a mapping, in a copy."""
        stacks, numbers = grouped(scalars)
        for tags, stack in stacks:
            self.keep_scalars(Scalars(tags, stack))
        if numbers:
            self.scalars.append((tuple(numbers), list(numbers.values())))

    def add_row(self, tags: _Tags, values: tuple[float, ...] | Tensor) -> None:
        """Keep numbers that nobody will overwrite."""
        if isinstance(values, Tensor):
            self.keep_scalars(Scalars(tags, values))
        else:
            self.scalars.append((tags, list(values)))

    def add_histograms(self, histograms: Mapping[str, Tensor | Histogram]) -> None:
        """Keep finished histograms as they are; raw values are counted in buckets here."""
        if isinstance(histograms, Histograms):
            h = histograms
            self._keep_histograms(h.tags, h.counts, h.edges, h.moments, h.non_finite)
            return
        finished = {tag: _finished(tag, value) for tag, value in histograms.items()}
        for tag, one in finished.items():
            counts, moments, non_finite = one.counts[None], one.moments[None], one.non_finite[None]
            self._keep_histograms((tag,), counts, one.edges, moments, non_finite)

    def add_images(self, images: Mapping[str, Tensor]) -> None:
        """Keep a copy of the images, eight bits a channel; deferred ones as they are."""
        images = self._without_deferred(images)
        ready = {check_tag(tag): pixels(tag, image) for tag, image in images.items()}
        self.images = {**self.images, **{tag: self._keep(x) for tag, x in ready.items()}}

    def add_figures(self, figures: "Mapping[str, Figure]") -> None:
        """Draw the figures, now, and keep the pictures."""
        self.add_images({tag: figure_pixels(tag, figure) for tag, figure in figures.items()})

    def add_texts(self, texts: Mapping[str, str]) -> None:
        """Keep texts, and what makes deferred ones."""
        texts = self._without_deferred(texts)
        for tag, text in texts.items():
            if not isinstance(text, str):
                raise TypeError(f"text {tag!r} must be a str, got {type(text).__name__}")
        self.texts = {**self.texts, **{check_tag(tag): text for tag, text in texts.items()}}

    def add_hparams(self, hparams: Mapping[str, bool | float | str]) -> None:
        """Keep hyperparameters."""
        for name, value in hparams.items():
            if not isinstance(value, (bool, int, float, str)):
                raise TypeError(
                    f"hyperparameter {name!r} must be a bool, a number or a str, got "
                    f"{type(value).__name__} {value!r}; write str(value)"
                )
        checked = {check_tag(name): value for name, value in hparams.items()}
        self.hparams = {**self.hparams, **checked}

    def keep_scalars(self, scalars: Scalars) -> None:
        """Keep these tensors as they are."""
        tensors = self.tensors
        first = len(tensors)
        for part in scalars.parts:
            if part.dtype not in transfer.TRAVELS or part.is_cuda or part.requires_grad:
                del tensors[first:]
                # All are converted before one is kept: what cannot be written leaves no trace.
                for ready in [transfer.wire(check_real("scalars", x)) for x in scalars.parts]:
                    self._keep(ready)
                break
            tensors.append(part)
        self.scalars.append((scalars, range(first, len(tensors))))

    def _without_deferred(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Keep the parts of those that are deferred; the others."""
        found = {tag: one for tag, one in values.items() if isinstance(one, Deferred)}
        for tag, one in found.items():
            parts = [self._keep(transfer.wire(part)) for part in one.parts]
            self.deferred = {**self.deferred, check_tag(tag): (one, parts)}
        return {tag: x for tag, x in values.items() if tag not in found} if found else values

    def _keep(self, tensor: Tensor) -> int:
        self.tensors.append(tensor.detach() if tensor.requires_grad else tensor)
        if tensor.is_cuda:
            stream = torch.cuda.current_stream(tensor.device)
            if stream not in self.streams:
                self.streams = (*self.streams, stream)
        return len(self.tensors) - 1

    def _keep_histograms(self, tags: _Tags, *parts: Tensor) -> None:
        counts, edges, moments, non_finite = (self._keep(transfer.wire(part)) for part in parts)
        self.histograms = (*self.histograms, (tags, (counts, edges, moments, non_finite)))


def _finished(tag: str, value: Tensor | Histogram) -> Histogram:
    check_tag(tag)
    if isinstance(value, Histogram):
        return value
    if not isinstance(value, Tensor):
        raise TypeError(
            f"histogram {tag!r} must be a tensor or a Histogram, got {type(value).__name__}"
        )
    if value.layout != torch.strided:
        raise TypeError(f"histogram {tag!r} must be of a dense tensor, got {value.layout}")
    counted = histograms_of([check_real(f"histogram {tag!r}", value)])
    return Histogram(*(part[0] for part in counted))
