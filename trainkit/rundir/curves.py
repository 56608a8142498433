"""The scalar series of a run, and how those of another run differ from them."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path

__all__ = ["CurveDifference", "compare_curves", "read_curves"]

# What depends on the clock.
_TIMED = ("throughput/", "memory/", "monitor/")
_PARTS = ("train", "validation", "test")

Points = list[tuple[int, float]]


@dataclass(frozen=True)
class CurveDifference:
    """Where a series differs.

    Args:
        tag: With the part of the data in front: `train: loss/total`.
        step: The first that differs; None: only one of the runs has the tag.
        relative: The largest difference of two values, divided by the larger of them.
    """

    tag: str
    step: int | None
    relative: float


def read_curves(run: Path) -> dict[str, Points]:
    """Every scalar series of a run but those of times and memory.

    Args:
        run: Its folder.

    Returns:
        Part and tag → step and value, in the order of the steps.

    Cost: TensorBoard's reader: about 100,000 points per second.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: dict[str, Points] = {}
    for part in _PARTS:
        folder = run / part
        if not folder.is_dir():
            continue
        events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
        for tag in events.Tags()["scalars"]:
            if not tag.startswith(_TIMED):
                points = [(event.step, event.value) for event in events.Scalars(tag)]
                found[f"{part}: {tag}"] = sorted(points, key=lambda point: point[0])
    return found


def compare_curves(one: Mapping[str, Points], other: Mapping[str, Points]) -> list[CurveDifference]:
    """Series that differ by a bit, at steps that both have; the earliest difference first.

    Steps that only one of the runs has are no difference: how often is measured depends on the
    time that it takes.

    Example:
        >>> compare_curves({"a": [(1, 2.0), (2, 3.0)]}, {"a": [(1, 2.0), (2, 4.0), (3, 5.0)]})
        [CurveDifference(tag='a', step=2, relative=0.25)]
    """
    found = [CurveDifference(tag, None, inf) for tag in one.keys() ^ other.keys()]
    for tag in one.keys() & other.keys():
        first, second = dict(one[tag]), dict(other[tag])
        steps = [s for s in first if s in second and _differ(first[s], second[s])]
        if steps:
            largest = max(_relative(first[s], second[s]) for s in steps)
            found.append(CurveDifference(tag, min(steps), largest))
    return sorted(found, key=lambda each: (each.step is None, each.step or 0, each.tag))


def _differ(a: float, b: float) -> bool:
    return a != b and (a == a or b == b)


def _relative(a: float, b: float) -> float:
    largest = max(abs(a), abs(b))
    share = abs(a - b) / largest if largest else 0.0
    return share if share == share else inf
