"""Event files, read back with TensorBoard's own reader."""

from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import (
    EventFileLoader,
    LegacyEventFileLoader,
)

EVERYTHING = {"scalars": 0, "histograms": 0, "images": 0, "tensors": 0}


def accumulated(directory: Path) -> EventAccumulator:
    return EventAccumulator(str(directory), size_guidance=EVERYTHING).Reload()


def event_files(directory: Path) -> list[Path]:
    return sorted(directory.glob("events.out.tfevents.*"))


def raw_events(path: Path) -> list[Any]:
    """As written."""
    return list(LegacyEventFileLoader(str(path)).Load())


def migrated_events(path: Path) -> list[Any]:
    """As the web page gets them."""
    return list(EventFileLoader(str(path)).Load())


def raw_scalars(directory: Path) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for path in event_files(directory):
        for event in raw_events(path):
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found
