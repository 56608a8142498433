"""Leave values out if flags of the same step say that they are wrong."""

import logging
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from trainkit.writers.values import LeftOut

__all__ = ["Checked"]

_log = logging.getLogger("trainkit")


class Checked:
    """A `finish` whose last part says what is wrong, as numbers that are 0 where nothing is.

    It is called by the writer's thread, so the training never waits for the answer.

    Args:
        finish: Makes the values of all other parts; None: they are one part, as it is.
        complaints: What to say, once, for each number that is not 0.
        told: What was said already, by others that share it.
        prefix: Where it was seen. A complaint without it is said once, wherever it was seen first.
    """

    def __init__(
        self,
        finish: Callable[..., NDArray[Any]] | None,
        complaints: tuple[str, ...],
        told: set[str],
        prefix: str = "",
    ) -> None:
        self._prefix = prefix
        self.finish = finish
        self.complaints = complaints
        #: What was found at last; None before the writer's thread has looked.
        self.wrong: bool | None = None
        self._told = told

    def __call__(self, *parts: NDArray[Any]) -> NDArray[Any]:
        """The values.

        Raises:
            LeftOut: Something is wrong at one of the steps.
        """
        *others, flags = parts
        raised = flags.reshape(len(flags), -1).max(0, initial=0).tolist()
        found = [c for c, flag in zip(self.complaints, raised, strict=True) if flag > 0]
        self.wrong = bool(found)
        for complaint in found:
            if complaint not in self._told:
                self._told.add(complaint)
                alone = complaint.startswith(self._prefix)
                _log.warning("%s%s", "" if alone else self._prefix, complaint)
        if found:
            raise LeftOut(found[0])
        return others[0] if self.finish is None else self.finish(*others)
