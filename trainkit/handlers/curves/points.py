"""Write the points of a curve in every iteration, with few operations."""

from collections.abc import Callable

from torch import Tensor

from trainkit.writers.guarded import GuardedWriter
from trainkit.writers.protocol import Curve, Point

__all__ = ["Points", "Row"]

Row = tuple[float, ...] | Tensor


class Points:
    """Writes the points of one curve.

    `writer.write_scalars` goes through a guard and a few other objects, which is most of what a
    number costs. Where the writer has a shorter way (`points`), that is taken for as long as it
    raises nothing. Whatever it raises, the long way meets it again, and tells of it.

    Args:
        writer: Where they go.
        curve: Whose points they are.
    """

    def __init__(self, writer: GuardedWriter, curve: Curve) -> None:
        self._writer = writer
        self._curve = curve
        self._quick: Callable[[int, Row], None] | None = None

    def write(self, step: int, row: Row) -> None:
        """Write one more."""
        if self._quick is not None:
            try:
                self._quick(step, row)
            except Exception:
                self._quick = None
            else:
                self._writer.last = step
                return
        self._writer.write_scalars(step, Point(self._curve, row))
        if self._writer.failing is None:
            self._quick = self._writer.points(self._curve)
