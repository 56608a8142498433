"""Report the cost of pictures, which the writer's thread draws, to the cadence."""

from collections import deque
from collections.abc import Iterable
from typing import Any

from trainkit.writers.deferred import Deferred

__all__ = ["DrawingCost"]

_MOST = 64  # pictures that are not drawn yet


class DrawingCost:
    """Collects pictures, and tells what drawing them took as soon as they are drawn.

    Args:
        cadence: Its `spend_apart(seconds)` is called, where it has that method.

    Example:
        >>> from trainkit.handlers.sampling.budget import Budget
        >>> budget = Budget(0.02)
        >>> cost, picture = DrawingCost(budget), Deferred(lambda: "drawn", [])
        >>> cost.add([picture])
        >>> _ = picture.value()
        >>> cost.tell()
        >>> budget.spent == picture.seconds
        True
    """

    def __init__(self, cadence: Any) -> None:
        self._spend = getattr(cadence, "spend_apart", None)
        self._waiting: deque[Deferred] = deque(maxlen=_MOST)

    def add(self, pictures: Iterable[Deferred]) -> None:
        """These have been handed to the writer."""
        if self._spend is not None:
            self._waiting.extend(pictures)

    def tell(self) -> None:
        """Tell what was drawn since the last time."""
        drawn = [picture for picture in self._waiting if picture.seconds]
        if drawn and self._spend is not None:
            waiting = [picture for picture in self._waiting if not picture.seconds]
            self._waiting = deque(waiting, maxlen=_MOST)
            self._spend(sum(picture.seconds for picture in drawn))
