"""A sink that keeps the newest scalars and the first step with a non-finite value."""

from collections.abc import Callable, Sequence

import numpy as np

from trainkit.writers.step.host_step import HostBlock, ScalarChunk, Step, items_of

__all__ = ["LatestValues"]

# Sets of tags that are known at a time; monitors write the same ones at every step.
_MANY = 64


class LatestValues:
    """Keeps the newest scalars, and the first step at which a tag was not finite.

    It stands beside the event file behind the background writer: there the values are on the
    host already, so that a progress bar and a summary cost the training nothing.

    A tag counts as not finite where its value is NaN or infinite, or, where its name ends in
    `non_finite`, a count above 0.

    Args:
        keep: Tags, or beginnings of tags that end in a slash, whose newest value is kept.
        alarm: Told of the step and its tags that were not finite for the first time; in the
            thread of whoever writes.
    """

    def __init__(
        self, *keep: str, alarm: Callable[[int, Sequence[str]], None] | None = None
    ) -> None:
        self._keep = keep
        self._alarm = alarm
        # Tags → the places of those whose value is kept, and of those that are counts.
        self._places: dict[tuple[str, ...], tuple[list[int], list[int]]] = {}
        self.values: dict[str, float] = {}
        self.non_finite: dict[str, int] = {}

    def write(self, steps: Sequence[Step]) -> None:
        """Look at everything; of points of a curve that are all finite, at the newest."""
        for item in items_of(steps):
            if not isinstance(item, HostBlock):
                self._look_at_step(item)
            elif np.isfinite(item.values).all():
                self._look(int(item.steps[-1]), ScalarChunk(item.tags, item.values[-1]))
            else:
                for step in item.alone():
                    self._look_at_step(step)

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """What was kept stays readable."""

    def _look_at_step(self, step: Step) -> None:
        new = [tag for chunk in step.chunks for tag in self._look(step.step, chunk)]
        if new and self._alarm is not None:
            self._alarm(step.step, new)

    def _look(self, step: int, chunk: ScalarChunk) -> list[str]:
        """Returns the tags that were not finite for the first time."""
        tags, values = chunk
        kept, counts = self._places_of(tags)
        for i in kept:
            self.values[tags[i]] = float(values[i])
        counted = [tags[i] for i in counts if values[i] > 0]
        new = [tag for tag in chunk.non_finite() + counted if tag not in self.non_finite]
        self.non_finite.update(dict.fromkeys(new, step))
        return new

    def _places_of(self, tags: tuple[str, ...]) -> tuple[list[int], list[int]]:
        found = self._places.get(tags)
        if found is None:
            if len(self._places) >= _MANY:
                self._places.clear()
            kept = [i for i, tag in enumerate(tags) if self._is_kept(tag)]
            counts = [i for i, tag in enumerate(tags) if tag.endswith("non_finite")]
            found = self._places[tags] = (kept, counts)
        return found

    def _is_kept(self, tag: str) -> bool:
        return any(tag == name or (name[-1] == "/" and tag.startswith(name)) for name in self._keep)
