"""What is written at one step, kept on its devices until it is read in one go."""

import logging
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from trainkit.stats import histograms as histograms_of
from trainkit.writers import transfer
from trainkit.writers.grouping import check_real, check_tag, grouped
from trainkit.writers.host_step import HostHistogram, HostStep, ScalarChunk
from trainkit.writers.images import figure_pixels, pixels
from trainkit.writers.protocol import Histogram, Histograms, Scalars

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Gathering"]

_log = logging.getLogger("trainkit")

_Tags = tuple[str, ...]


class Gathering:
    """Everything that is written at one step.

    What is added is checked at once and kept as it is on its device; what the caller may
    overwrite is copied there, many values with one launch. `read` brings it all to the host.

    Args:
        step: Of everything that will be added.
    """

    def __init__(self, step: int) -> None:
        self.step = step
        self.wall_time = time.time()
        self.changed = time.monotonic()
        # In the order of writing; ints stand for the numbers of tensors in `_tensors`.
        self._scalars: list[tuple[Scalars, tuple[int, ...]] | tuple[_Tags, list[float]]] = []
        self._histograms: list[tuple[_Tags, tuple[int, int, int, int]]] = []
        self._images: dict[str, int] = {}
        self._texts: dict[str, str] = {}
        self._hparams: dict[str, bool | float | str] = {}
        self._tensors: list[Tensor] = []
        self._streams: list[Any] = []

    def add_scalars(self, scalars: Mapping[str, Tensor | float]) -> None:
        """Keep numbers; `Scalars` as they are, the tensors of any other mapping in a copy."""
        if isinstance(scalars, Scalars):
            self._keep_scalars(scalars)
            return
        stacks, numbers = grouped(scalars)
        for tags, stack in stacks:
            self._keep_scalars(Scalars(tags, stack))
        if numbers:
            self._scalars.append((tuple(numbers), list(numbers.values())))

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
        """Keep a copy of the images, eight bits a channel."""
        ready = {check_tag(tag): pixels(tag, image) for tag, image in images.items()}
        self._images |= {tag: self._keep(image) for tag, image in ready.items()}

    def add_figures(self, figures: "Mapping[str, Figure]") -> None:
        """Draw the figures, now, and keep the pictures."""
        self.add_images({tag: figure_pixels(tag, figure) for tag, figure in figures.items()})

    def add_texts(self, texts: Mapping[str, str]) -> None:
        """Keep texts."""
        for tag, text in texts.items():
            if not isinstance(text, str):
                raise TypeError(f"text {tag!r} must be a str, got {type(text).__name__}")
        self._texts |= {check_tag(tag): text for tag, text in texts.items()}

    def add_hparams(self, hparams: Mapping[str, bool | float | str]) -> None:
        """Keep hyperparameters."""
        for name, value in hparams.items():
            if not isinstance(value, (bool, int, float, str)):
                raise TypeError(
                    f"hyperparameter {name!r} must be a bool, a number or a str, got "
                    f"{type(value).__name__} {value!r}; write str(value)"
                )
        self._hparams |= {check_tag(name): value for name, value in hparams.items()}

    def read(self) -> HostStep:
        """Everything on the host, at the price of one read per device."""
        arrays = self._read_tensors()
        with np.errstate(all="ignore"):  # NaN is an answer
            chunks = [_on_the_host(what, at, arrays) for what, at in self._scalars]
        scalars = [chunk for chunk in chunks if chunk is not None]
        histograms: dict[str, HostHistogram] = {}
        for tags, (counts, edges, moments, non_finite) in self._histograms:
            limits = np.broadcast_to(arrays[edges], (len(tags), arrays[edges].shape[-1]))
            bad = arrays[non_finite].tolist()
            rows = zip(arrays[counts], limits, arrays[moments], bad, strict=True)
            histograms |= {tag: HostHistogram(*row) for tag, row in zip(tags, rows, strict=True)}
        images = {tag: arrays[at] for tag, at in self._images.items()}
        return HostStep(
            self.step, self.wall_time, scalars, histograms, self._texts, images, self._hparams
        )

    def _keep(self, tensor: Tensor) -> int:
        self._tensors.append(tensor.detach() if tensor.requires_grad else tensor)
        if tensor.is_cuda:
            stream = torch.cuda.current_stream(tensor.device)
            if stream not in self._streams:
                self._streams.append(stream)
        return len(self._tensors) - 1

    def _keep_scalars(self, scalars: Scalars) -> None:
        parts = [
            part if part.dtype in transfer.TRAVELS else transfer.wire(check_real("scalars", part))
            for part in scalars.parts
        ]
        self._scalars.append((scalars, tuple([self._keep(part) for part in parts])))

    def _keep_histograms(self, tags: _Tags, *parts: Tensor) -> None:
        counts, edges, moments, non_finite = (self._keep(transfer.wire(part)) for part in parts)
        self._histograms.append((tags, (counts, edges, moments, non_finite)))

    def _read_tensors(self) -> transfer.Arrays:
        arrays: transfer.Arrays = [np.empty(0)] * len(self._tensors)
        by_device: dict[torch.device, list[int]] = defaultdict(list)
        for i, tensor in enumerate(self._tensors):
            by_device[tensor.device].append(i)
        for device, members in by_device.items():
            streams = [stream for stream in self._streams if stream.device == device]
            read = transfer.read([self._tensors[i] for i in members], streams)
            for i, array in zip(members, read, strict=True):
                arrays[i] = array
        return arrays


def _on_the_host(
    what: Scalars | _Tags, at: Sequence[Any], arrays: transfer.Arrays
) -> ScalarChunk | None:
    if not isinstance(what, Scalars):
        return ScalarChunk(what, np.array(at, np.float64))
    values = [arrays[i] for i in at]
    try:
        found = values[0] if what.finish is None else np.asarray(what.finish(*values))
        if found.shape != (len(what.tags),):
            raise ValueError(f"expected {len(what.tags)} values, got shape {found.shape}")
    except Exception:  # all else that was written at this step is still good
        _log.exception("%s and what came with it is left out", what.tags[:1])
        return None
    chunk = ScalarChunk(what.tags, found)
    return chunk if what.largest is None else chunk.largest(what.largest)


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
