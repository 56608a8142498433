"""The data of a run, held to what they say: as many batches as their length, every time."""

import logging
from collections.abc import Iterator
from typing import Any

from trainkit.data import ended_early, length_of

__all__ = ["OnePass", "TrainingSource"]

_log = logging.getLogger("trainkit.training")


class OnePass:
    """Data to evaluate on: each iteration over it is one pass.

    Args:
        data: Batches, with a length or without.
        name: What errors call them.

    Raises:
        EndedEarlyError: In a pass: the data end before their length, give nothing, or an item
            raises `StopIteration`.
    """

    def __init__(self, data: Any, name: str) -> None:
        self.data = data
        self.name = name
        self.length = length_of(data)
        self._told = False

    def __len__(self) -> int:
        """Batches of a pass; a TypeError where the data do not say, as Ignite expects it."""
        return len(self.data)

    def __iter__(self) -> Iterator[Any]:
        """One pass; what there is beyond the length is left out, and said once."""
        batches, drawn = iter(self.data), 0
        while True:
            try:
                batch = next(batches)
            except StopIteration as stop:
                if drawn and drawn == (drawn if self.length is None else self.length):
                    return
                raise ended_early(self.name, drawn, self.length, stop) from None
            except RuntimeError as error:
                if isinstance(error.__cause__, StopIteration):
                    raise ended_early(self.name, drawn, self.length, error) from error
                raise
            if drawn == self.length:
                self._tell_more()
                return
            drawn += 1
            yield batch

    def __getattr__(self, name: str) -> Any:
        """Whatever else the data have: handlers of others look for `dataset`."""
        if name == "data":  # before it is there
            raise AttributeError(name)
        return getattr(self.data, name)

    def _tell_more(self) -> None:
        if not self._told:
            self._told = True
            _log.warning(
                "%s gives more batches than its length, %s, says: the rest of each pass is left "
                "out", self.name, self.length,
            )  # fmt: skip


class TrainingSource(OnePass):
    """Data to train on: one endless iteration, pass after pass.

    Without `epoch_length` an epoch is a pass. With it an epoch is as many batches, and the passes
    go on across epochs: what is left of one is trained on in the next, and where the data end
    they are started again.

    Before each pass `set_epoch(passes so far)` is called on the data and their samplers, where
    they have it.

    Args:
        data: Batches.
        epoch_length: Batches of an epoch; needed where the data have no length.

    Raises:
        ValueError: Neither says how long an epoch is.
    """

    def __init__(self, data: Any, epoch_length: int | None = None) -> None:
        super().__init__(data, "data.train")
        if epoch_length is None and self.length is None:
            raise ValueError(
                f"data.train has no length ({type(data).__name__}): set trainer.epoch_length, the "
                "iterations of an epoch"
            )
        self.epoch_length = epoch_length or self.length or 0
        self.passes = 0

    def __len__(self) -> int:
        """Batches of an epoch."""
        return self.epoch_length

    def __iter__(self) -> Iterator[Any]:
        """Pass after pass."""
        while True:
            self._announce()
            self.passes += 1
            yield from super().__iter__()

    def _announce(self) -> None:
        inside = (getattr(self.data, name, None) for name in ("sampler", "batch_sampler"))
        for part in (self.data, *inside):
            if part is not None and hasattr(part, "set_epoch"):
                part.set_epoch(self.passes)
