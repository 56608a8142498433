"""Which points draw a value that holds until it changes, when they are joined by straight lines."""

from collections.abc import Iterator, Mapping
from math import inf
from typing import Any

from torch import Tensor

from trainkit.handlers.output.as_step_output import Number

__all__ = ["Staircase", "Staircases"]

Points = Iterator[tuple[int, Number]]

# A point may be left out where the line between its neighbours is off by this share of its value;
# by twice as much after so many points, and so on, so that noise does not fill a disk.
_TOLERANCE = 0.001
_POINTS = 10_000


class Staircase:
    """The points of one value.

    A value that holds for several iterations has a point at the first and one at the last of
    them, so that a change is a step and not a ramp. While it changes in every iteration it has a
    point where `flush` is called, at samples, and wherever the line would be off by more than
    0.1 % of the value without one (by more after 10,000 points).

    A tensor is never compared, which would read its device: it has changed if it is another one
    or torch has counted a change of it. While it changes in every iteration it has points at
    samples only.

    Args:
        shown: Whether a value that never changes has points too. If not, all of its points come
            with the first change.
    """

    def __init__(self, shown: bool) -> None:
        self._shown = shown
        # The iteration from which on the value holds (0: there is none yet), and that of its last
        # point (0: it has none).
        self.since = self._written = 0
        self._source: Number = 0.0
        self._version = 0
        # What to write; of a tensor that changes in every iteration there is no copy.
        self._value: Number | None = None
        # What it was just before, where that has no point.
        self._ramp: tuple[int, Number] | None = None
        self._line = _Line()

    def state_dict(self) -> dict[str, Any]:
        """Where it stands; of a tensor the value, but not which tensor it is."""
        source = self._source
        if isinstance(source, Tensor):
            source = source.detach().reshape(())
        line = self._line
        return {
            "shown": self._shown, "since": self.since, "written": self._written, "source": source,
            "value": self._value, "ramp": self._ramp,
            "line": (line.step, line.value, line.low, line.high, line.points),
        }  # fmt: skip

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._shown, self.since = state_dict["shown"], state_dict["since"]
        self._written, self._source = state_dict["written"], state_dict["source"]
        self._version = _version(self._source)
        self._value, self._ramp = state_dict["value"], state_dict["ramp"]
        line = self._line
        line.step, line.value, line.low, line.high, line.points = state_dict["line"]

    def see(self, source: Number, iteration: int, last: int) -> Points:
        """The value that is used in an iteration; the one before was used until `last`."""
        first, held = not self.since, last > self.since
        if not first and self.same(source):
            return
        if not first and self._value is not None:
            if not self._shown:
                self._shown, self._written = True, self.since
                yield self.since, self._value
            if held:
                if self._written < last:
                    yield last, self._value
            elif not isinstance(source, Tensor) and not isinstance(self._value, Tensor):
                if self._written:
                    self._line.begin(self._written, self._value)
                elif not self._line.reaches(self.since, self._value, iteration, source):
                    yield from self.flush()
                    self._line.begin(self.since, self._value)
        self._ramp = None if held or self._written or self._value is None else (last, self._value)
        self._source, self.since, self._written = source, iteration, 0
        self._version = _version(source)
        self._value = None if isinstance(source, Tensor) else source
        if first or held:
            self._freeze()
            yield from self.flush()

    def flush(self) -> Points:
        """The point at which the value was first used, if it has none."""
        if self._shown and not self._written:
            self._written = self.since
            yield self.since, self._freeze()

    def end(self, last: int) -> Points:
        """The points of a value that is used until `last`."""
        if self.since and last >= self.since:
            if self.is_tensor:
                self._value = None
            yield from self.flush()
            if self._shown and self._written < last:
                self._written = last
                yield last, self._freeze()

    def hold(self) -> Points:
        """The value is the same in another iteration: a ramp may have ended in the one before."""
        self._freeze()
        if self._shown and self._ramp is not None and not self._written:
            yield self._ramp
        self._ramp = None
        yield from self.flush()

    @property
    def is_tensor(self) -> bool:
        """Whether it might change without being seen to."""
        return isinstance(self._source, Tensor)

    def same(self, source: Number) -> bool:
        """Whether this is the value that holds."""
        if isinstance(source, Tensor) or isinstance(self._source, Tensor):
            return source is self._source and _version(source) == self._version
        return source == self._source or (source != source and self._source != self._source)

    def _freeze(self) -> Number:
        if self._value is None:
            source = self._source
            if isinstance(source, Tensor):
                source = source.detach().clone().reshape(())
            self._value = source
        return self._value


class _Line:
    """A line from the last point of a value to its next one, as long as that is true.

    Of the values in between it keeps the slopes that are near enough to all of them.
    """

    def __init__(self) -> None:
        self.step, self.value = 0, 0.0
        self.low, self.high = -inf, inf
        self.points = 0

    def begin(self, step: int, value: float) -> None:
        """There is a point."""
        self.step, self.value = step, value
        self.low, self.high = -inf, inf
        self.points += 1

    def reaches(self, step: int, value: float, later: int, then: float) -> bool:
        """Whether a line to the value `then` is near this one, and those before; not for NaN."""
        near = abs(value) * _TOLERANCE * (1 << min(self.points // _POINTS, 20))
        rise, run = value - self.value, step - self.step
        self.low = max((rise - near) / run, self.low)
        self.high = min((rise + near) / run, self.high)
        return self.low <= (then - self.value) / (later - self.step) <= self.high


def _version(source: Number) -> int:
    """How often a tensor was changed in place, as far as torch counts."""
    return source._version if isinstance(source, Tensor) and not source.is_inference() else 0


class Staircases:
    """The points of many values that are read at the same moments.

    Args:
        always: Whether every value is shown, also one that never changes. If not, only learning
            rates are.
    """

    def __init__(self, always: bool = False) -> None:
        self.last = 0
        self._always = always
        self._stairs: dict[str, Staircase] = {}
        #: What has just changed, and may have come to the end of a ramp.
        self.fresh: dict[str, Staircase] = {}

    def state_dict(self) -> dict[str, Any]:
        """Where each of them stands."""
        return {
            "last": self.last,
            "fresh": list(self.fresh),
            "stairs": {tag: stairs.state_dict() for tag, stairs in self._stairs.items()},
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.last = state_dict["last"]
        for tag, state in state_dict["stairs"].items():
            stairs = self._stairs[tag] = Staircase(shown=False)
            stairs.load_state_dict(state)
        self.fresh = {tag: self._stairs[tag] for tag in state_dict["fresh"]}

    def see(self, found: Mapping[str, Number], iteration: int, last: int) -> "Drawn":
        """These may have changed in this iteration, all others have not since `last`."""
        drawn = Drawn()
        fresh, self.fresh = self.fresh, {}
        for tag, source in found.items():
            stairs = self._stairs.get(tag)
            if stairs is None:
                shown = self._always or tag.rpartition("/")[2] == "lr"
                stairs = self._stairs[tag] = Staircase(shown)
            since = stairs.since
            drawn.add(tag, stairs.see(source, iteration, last))
            if stairs.since != since:
                self.fresh[tag] = stairs
        for tag, stairs in fresh.items():
            if tag not in self.fresh:
                drawn.add(tag, stairs.hold())
        self.last = iteration
        return drawn

    def differ(self, found: Mapping[str, Number]) -> bool:
        """Whether any of these is another value than the last that was seen."""
        known = [(self._stairs.get(tag), source) for tag, source in found.items()]
        return any(stairs is not None and not stairs.same(source) for stairs, source in known)

    def sample(self) -> "Drawn":
        """A point for each value that has none, and for each tensor."""
        drawn = Drawn()
        for tag, stairs in self._stairs.items():
            drawn.add(tag, stairs.end(self.last) if stairs.is_tensor else stairs.flush())
        return drawn

    def end(self) -> "Drawn":
        """The last points."""
        drawn = Drawn()
        for tag, stairs in self._stairs.items():
            drawn.add(tag, stairs.end(self.last))
        return drawn


class Drawn(dict[int, dict[str, Number]]):
    """Points by iteration and tag."""

    def add(self, tag: str, points: Points) -> None:
        """Some more, of this tag."""
        for step, value in points:
            self.setdefault(step, {})[tag] = value

    def join(self, other: "Drawn") -> None:
        """Those of somebody else."""
        for step, values in other.items():
            self.setdefault(step, {}).update(values)
