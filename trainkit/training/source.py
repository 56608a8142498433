"""The data of a run, held to what they say: as many batches as their length, every time."""

import logging
from collections.abc import Iterator, Mapping
from itertools import chain
from time import perf_counter
from typing import Any

from torch.utils.data import DataLoader

from trainkit.data import Batches, ended_early, length_of
from trainkit.data.generators import generator_states, set_generator_states
from trainkit.rundir import random_state, set_random_state

__all__ = ["OnePass", "TrainingSource"]

_log = logging.getLogger("trainkit.training")
_notes = logging.getLogger("trainkit.training.notes")

_SLOW = 1.0  # seconds of skipping that are worth a line


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
        #: Batches that were taken in the pass that goes on.
        self.drawn = 0

    def __len__(self) -> int:
        """Batches of a pass; a TypeError where the data do not say, as Ignite expects it."""
        return len(self.data)

    def __iter__(self) -> Iterator[Any]:
        """One pass; what there is beyond the length is left out, and said once."""
        self.drawn = 0
        yield from self.rest_of(iter(self.data))

    def rest_of(self, batches: Iterator[Any]) -> Iterator[Any]:
        """What is left of a pass of which `drawn` batches were taken."""
        while True:
            try:
                batch = next(batches)
            except StopIteration as stop:
                if self.drawn and self.drawn == (self.length or self.drawn):
                    return
                raise ended_early(self.name, self.drawn, self.length, stop) from None
            except RuntimeError as error:
                if isinstance(error.__cause__, StopIteration):
                    raise ended_early(self.name, self.drawn, self.length, error) from error
                raise
            if self.drawn == self.length:
                self._tell_more()
                return
            self.drawn += 1
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

    `state_dict` is the place in the data, from which another process goes on with the same
    batches:

    - `Batches` go there at once.
    - Data with `state_dict` and `load_state_dict` (torchdata's protocol) are asked for theirs.
    - Everything else begins its pass again with the random state that it had then, and gives the
      batches before the place once more, which are dropped.

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
        self._keeps_state = hasattr(data, "state_dict") and hasattr(data, "load_state_dict")
        # What draws random numbers when a pass begins is begun again with the same ones.
        self._draws = not (self._keeps_state or isinstance(data, Batches | list | tuple | range))
        self._begun_with: dict[str, Any] | None = None
        self._resumed: Mapping[str, Any] | None = None

    def __len__(self) -> int:
        """Batches of an epoch."""
        return self.epoch_length

    def __iter__(self) -> Iterator[Any]:
        """Pass after pass."""
        if self._resumed is not None:
            resumed, self._resumed = self._resumed, None
            batches = self._go_to(resumed)
            if batches is not None:
                yield from self.rest_of(batches)
        while True:
            self._announce()
            if self._draws:
                self._begun_with = self._randomness()
            self.passes += 1
            yield from super().__iter__()

    def state_dict(self) -> dict[str, Any]:
        """The place in the data."""
        return {
            "passes": self.passes,
            "drawn": self.drawn,
            "begun_with": self._begun_with,
            "generators": generator_states(self.data),
            "data": self.data.state_dict() if self._keeps_state else None,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from there with the next iteration."""
        self._resumed = state_dict
        self.passes, self.drawn = state_dict["passes"], state_dict["drawn"]

    @property
    def doubt(self) -> str:
        """Why going on in the middle of a pass may not be exact; empty where it is."""
        data = self.data
        if isinstance(data, DataLoader) and data.num_workers and data.persistent_workers:
            return (
                "data.train has persistent workers: random numbers that they draw are not those "
                "of an uninterrupted run; persistent_workers=False makes them so"
            )
        return ""

    def _go_to(self, place: Mapping[str, Any]) -> Iterator[Any] | None:
        """The rest of the pass that goes on there; None: a new pass begins."""
        self._begun_with = place["begun_with"]
        if place["data"] is not None and self._keeps_state:
            self.data.load_state_dict(place["data"])
            return self._rest_of_stateful()
        set_generator_states(self.data, place["generators"])
        if not self.passes or self.drawn == self.length:
            return None
        if isinstance(self.data, Batches):
            self.data.set_epoch(self.passes - 1, self.drawn)
            return iter(self.data)
        return self._skipped(place)

    def _rest_of_stateful(self) -> Iterator[Any] | None:
        """What data give that have put themselves at their place."""
        if self.drawn != self.length:
            rest: Iterator[Any] = iter(self.data)
            return rest
        # At the end of a pass some data give nothing more, and others begin the next pass at once.
        self._announce()
        batches = iter(self.data)
        for first in batches:
            self.passes, self.drawn = self.passes + 1, 0
            return chain([first], batches)
        return None

    def _skipped(self, place: Mapping[str, Any]) -> Iterator[Any]:
        """The pass begun again, and so many of its batches dropped."""
        now, begun = random_state(), perf_counter()
        if self._begun_with is not None:
            set_random_state(self._begun_with["global"])
            set_generator_states(self.data, self._begun_with["generators"])
        self._announce(self.passes - 1)
        batches: Iterator[Any] = iter(self.data)
        for _ in range(self.drawn):
            next(batches)
        set_random_state(now)
        set_generator_states(self.data, place["generators"])
        took = perf_counter() - begun
        if took > _SLOW:
            _notes.warning(
                "data.train: %d batches were read again and dropped to find the place, in %.1f s; "
                "data with state_dict and load_state_dict go there at once", self.drawn, took,
            )  # fmt: skip
        return batches

    def _randomness(self) -> dict[str, Any]:
        return {"global": random_state(), "generators": generator_states(self.data)}

    def _announce(self, passes: int | None = None) -> None:
        number = self.passes if passes is None else passes
        inside = (getattr(self.data, name, None) for name in ("sampler", "batch_sampler"))
        for part in (self.data, *inside):
            if part is not None and hasattr(part, "set_epoch"):
                part.set_epoch(number)
