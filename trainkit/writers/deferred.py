"""Images and texts that are made when their tensors are on the host, by the writer's thread."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray
from torch import Tensor, from_numpy

from trainkit.writers.protocol import LeftOut

__all__ = ["Deferred", "PrCurve", "for_writer"]


class Deferred:
    """What `make` will return, once the tensors that it needs have left the device.

    It is a value for `write_images` (`make` returns uint8 `[H, W, C]`, C in 1, 3, 4) and for
    `write_texts` (`make` returns a str). The tensors travel with everything else that is written
    at the step, in the same device read. The training thread neither waits nor draws.

    Args:
        make: A pure function of the parts, as NumPy arrays. It may raise `LeftOut`: then nothing
            is written under this tag.
        parts: Tensors of any shape, on any device. They are handed over: do not write into them
            afterwards.

    Attributes:
        seconds: Processor time that making it took, 0 before that; behind a background writer also
            that of writing it, which is noted at the first one of a step.

    Example:
        >>> import torch
        >>> Deferred(lambda counts: f"{counts.sum()} samples", [torch.tensor([2, 3])]).value()
        '5 samples'
    """

    __slots__ = ("make", "parts", "seconds")

    def __init__(self, make: Callable[..., Any], parts: Sequence[Tensor]) -> None:
        self.make = make
        self.parts = tuple(parts)
        self.seconds = 0.0

    def made(self, arrays: Sequence[NDArray[Any]]) -> Any:
        """Make it, of the parts as arrays; the time that this takes is noted."""
        start = time.thread_time()
        try:
            return self.make(*arrays)
        finally:
            self.seconds += time.thread_time() - start

    def value(self) -> Any:
        """Make it now: reads the device. For a writer that has no thread."""
        return self.made([part.detach().cpu().numpy() for part in self.parts])


class PrCurve(Deferred):
    """A precision-recall curve, which TensorBoard draws itself, on its page PR CURVES.

    It is a value for `write_images`. `make` returns float32 `[6, T]`: true positives, false
    positives, true negatives, false negatives, precision and recall at the T thresholds of
    `linspace(0, 1, T)`. Writers of anything but event files leave it out.

    Args:
        make: As in `Deferred`.
        parts: As in `Deferred`.

    Example:
        >>> import numpy, torch
        >>> curve = PrCurve(lambda x: x.astype(numpy.float32), [torch.zeros(6, 101)])
        >>> curve.value().shape
        (6, 101)

    Source: `tensorboard.plugins.pr_curve.metadata`.
    """

    __slots__ = ()


def for_writer(writer: Any, values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The values as this writer takes them: made now, where it does not know what is deferred.

    Args:
        writer: One that says `takes_deferred`, or one of a user's own with the plain verbs.
        values: Images or texts by tag. The plain verbs know no PR curves: they are left out.

    Cost: for a writer of a user's own, a device read and the drawing, in the calling thread.
    """
    if getattr(writer, "takes_deferred", False):
        return values
    if not any(isinstance(value, Deferred) for value in values.values()):
        return values
    found: dict[str, Any] = {}
    for tag, value in values.items():
        if isinstance(value, PrCurve):
            continue
        if isinstance(value, Deferred):
            try:
                value = value.value()
            except LeftOut:
                continue
            if not isinstance(value, str):
                value = from_numpy(value).permute(2, 0, 1)
        found[tag] = value
    return found
