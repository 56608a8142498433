"""A sink that writes with the verbs of a writer."""

from collections.abc import Sequence

import torch

from trainkit.writers.outage import failing
from trainkit.writers.protocol import Writer
from trainkit.writers.sinks.subruns import subrun
from trainkit.writers.step.host_step import Step

__all__ = ["VerbsSink"]


class VerbsSink:
    """Writes finished steps to any writer, verb by verb, as plain numbers and CPU tensors.

    Args:
        writer: Gets everything.
        owned: Whether it is flushed and closed with this sink; a sub-run ends with its parent.
    """

    def __init__(self, writer: Writer, *, owned: bool = True) -> None:
        self._writer = writer
        self._owned = owned

    def __repr__(self) -> str:
        return repr(self._writer)

    @property
    def failing(self) -> BaseException | None:
        """What keeps the writer from writing now, as far as it tells."""
        return failing(self._writer)

    def write(self, steps: Sequence[Step]) -> None:
        """Write all of them, in order."""
        for step in steps:
            self._write(step)

    def subrun(self, name: str) -> "VerbsSink":
        """The sub-run of the writer."""
        return VerbsSink(subrun(self._writer, name), owned=False)

    def flush(self) -> None:
        """Flush the writer."""
        if self._owned:
            self._writer.flush()

    def close(self) -> None:
        """Close the writer."""
        if self._owned:
            self._writer.close()

    def _write(self, step: Step) -> None:
        writer, number = self._writer, step.step
        if step.chunks:
            writer.write_scalars(number, step.scalars)
        if step.histograms:
            histograms = {tag: h.as_histogram() for tag, h in step.histograms.items()}
            writer.write_histograms(number, histograms)
        if step.texts:
            writer.write_texts(number, step.texts)
        if step.images:
            images = {tag: torch.from_numpy(pixels) for tag, pixels in step.images.items()}
            writer.write_images(number, images)
        if step.hparams:
            writer.write_hparams(number, step.hparams)
