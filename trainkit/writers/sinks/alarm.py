"""A sink that reports values that are not finite."""

from collections.abc import Callable, Sequence

import numpy as np

from trainkit.writers.step.host_step import HostBlock, Step, items_of

__all__ = ["AlarmSink"]


class AlarmSink:
    """Tells of every step with scalars that are NaN or infinite; it keeps nothing.

    Args:
        tell: Gets the step and the tags; called in the thread of whoever writes.
    """

    def __init__(self, tell: Callable[[int, Sequence[str]], None]) -> None:
        self._tell = tell

    def write(self, steps: Sequence[Step]) -> None:
        """Look at all of them."""
        for item in items_of(steps):
            if not isinstance(item, HostBlock):
                self._look(item)
            elif not np.isfinite(item.values).all():
                for step in item.alone():
                    self._look(step)

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is open."""

    def _look(self, step: Step) -> None:
        bad = step.non_finite()
        if bad:
            self._tell(step.step, bad)
