"""Gradient accumulation: which micro-batches make one optimizer step, and their weights."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from ignite.engine import Engine
from torch import Tensor

__all__ = ["Accumulation", "MicroBatch"]


@dataclass(frozen=True)
class MicroBatch:
    """The position of a micro-batch in its cycle."""

    first: bool
    last: bool


class Accumulation:
    """Makes the gradient of k micro-batches that of the one big batch.

    With n_i samples in micro-batch i and N in all of the cycle, its loss counts n_i / N, so that
    a loss that is a mean over samples has the big batch's gradient also where the micro-batches
    differ in size. The last cycle of an epoch, and of the run, is as long as there are
    micro-batches left: nothing is carried over an epoch's end. (Where the length of the epoch is
    not known to the engine, cycles go on across it.)

    N is known only with the last micro-batch. Until then all are taken to be as large as the
    first; if that was wrong, the gradients so far are rescaled before the last backward, so that
    after it they are right.

    Args:
        steps: k, micro-batches per optimizer step.

    Raises:
        ValueError: `steps` is less than 1.
    """

    def __init__(self, steps: int) -> None:
        if steps < 1:
            raise ValueError(f"accumulation_steps must be 1 micro-batch or more, got {steps}")
        self.steps = steps
        self._index = 0
        self._length = 1
        self._first_size = 0
        self._samples = 0
        self._next_iteration: int | None = None

    def begin(self, engine: Engine) -> MicroBatch:
        """Take up the engine's current iteration."""
        state = engine.state
        if self._next_iteration != state.iteration:  # another run: discard the cycle that was begun
            self._index = 0
        self._next_iteration = state.iteration + 1
        if self._index == 0:
            self._length = self.steps
            if state.epoch_length is not None:
                self._length = min(
                    self.steps, state.epoch_length - (state.iteration - 1) % state.epoch_length
                )
            if state.max_iters is not None:
                self._length = min(self._length, state.max_iters - state.iteration + 1)
        return MicroBatch(first=self._index == 0, last=self._index == self._length - 1)

    def weight(self, samples: int, gradients: Iterable[Tensor | None]) -> float:
        """What the loss of this micro-batch counts; to be asked once, before its backward.

        Args:
            samples: n_i.
            gradients: Those accumulated so far, rescaled in place where that is needed.
        """
        if self._index == 0:
            self._first_size, self._samples = samples, 0
        self._samples += samples
        self._index += 1
        expected = self._first_size * self._length
        if self._index < self._length:
            return samples / expected if expected else 1.0
        self._index = 0
        if self._samples != expected and self._length > 1:
            so_far = [gradient for gradient in gradients if gradient is not None]
            if so_far:
                torch._foreach_mul_(so_far, expected / self._samples)
        return samples / self._samples if self._samples else 1.0

    def state_dict(self) -> dict[str, Any]:
        """Where in its cycle the training is (the gradients are kept by the checkpoint)."""
        return {
            "index": self._index,
            "length": self._length,
            "first_size": self._first_size,
            "samples": self._samples,
            "next_iteration": self._next_iteration,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self._index = state_dict["index"]
        self._length = state_dict["length"]
        self._first_size = state_dict["first_size"]
        self._samples = state_dict["samples"]
        self._next_iteration = state_dict["next_iteration"]
