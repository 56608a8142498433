"""Decide at which evaluations pictures are written."""

from collections.abc import Mapping
from math import ceil
from typing import Any

from ignite.engine import Engine

from trainkit.handlers.sampling.run_length import last_iteration

__all__ = ["Occasions"]


class Occasions:
    """The first evaluation, the second, the fourth, … and the one at the end of the run.

    So a run has few pictures, however long it is, and most of them where most changes.

    Args:
        spacing: Each occasion is the evaluation whose number is so many times that of the one
            before; 1: every evaluation.

    Raises:
        ValueError: `spacing` is less than 1.

    Example:
        >>> trainer, occasions = Engine(lambda engine, batch: None), Occasions()
        >>> [occasions.begin(trainer) for _ in range(9)]
        [True, True, False, True, False, False, False, True, False]
    """

    def __init__(self, spacing: float = 2.0) -> None:
        if not spacing >= 1:
            raise ValueError(f"spacing must be 1 or more, got {spacing}")
        self.spacing = spacing
        self._number, self._next = 0, 1

    def state_dict(self) -> dict[str, Any]:
        """How many evaluations there were, and which one is the next occasion."""
        return {"number": self._number, "next": self._next}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on counting from there."""
        self._number, self._next = state_dict["number"], state_dict["next"]

    def begin(self, trainer: Engine) -> bool:
        """Whether the evaluation that begins is an occasion; called once for each.

        Args:
            trainer: Tells whether its last iteration is over.
        """
        self._number += 1
        last = last_iteration(trainer)
        ended = last is not None and trainer.state.iteration >= last
        if self._number < self._next:
            return ended
        self._next = max(self._number + 1, ceil(self._number * self.spacing))
        return True
