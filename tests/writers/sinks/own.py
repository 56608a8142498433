"""A sink of somebody's own, which the tests make fail."""

from collections.abc import Sequence

from trainkit import Step

__all__ = ["Service"]


class Service:
    """Keeps what it is given, as lists; refuses it while `error` is set.

    Args:
        together: Whether nothing is kept before `flush`, as by a service that is sent batches.
    """

    def __init__(self, together: bool = False) -> None:
        self.error: Exception | None = None
        self.poison: dict[int, Exception] = {}  # step → what is raised for it, always
        self.together = together
        self.batch: list[tuple[int, dict[str, float]]] = []
        self.points: list[tuple[int, dict[str, float]]] = []
        self.calls: list[int] = []
        self.flushed = self.closed = 0

    def write(self, steps: Sequence[Step]) -> None:
        """Keep all of them, or none."""
        self.calls.append(len(steps))
        for step in steps:
            if step.step in self.poison:
                raise self.poison[step.step]
        if not self.together and self.error is not None:
            raise self.error
        found = [(step.step, dict(step.scalars)) for step in steps]
        (self.batch if self.together else self.points).extend(found)

    def flush(self) -> None:
        """Send the batch."""
        if self.error is not None:
            raise self.error
        self.points += self.batch
        self.batch = []
        self.flushed += 1

    def close(self) -> None:
        """Send the rest."""
        self.flush()
        self.closed += 1
