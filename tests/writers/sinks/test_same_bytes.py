"""The bytes of an event file, for values and times that are given: they never change unnoticed."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader

from tests.writers.reading import event_files
from trainkit import Step
from trainkit.writers.sinks.event_file import EventFileSink
from trainkit.writers.step.host_step import (
    HostBlock,
    HostHistogram,
    HostItem,
    ScalarChunk,
    Steps,
)

# Of the file that version 0.1 wrote for the same values.
DIGEST = "f945ffa1972d02fb86cdcc5ec74da381b63414bae028b4ebacfe5bc7a5afb115"


def items() -> list[HostItem]:
    """Scalars alike and not, a histogram, a text, a hyperparameter, and points of a curve."""
    tags = ("gradients.norm/0.weight", "gradients.norm/0.bias", "loss/total")
    rows = [
        np.array([0.1, float("nan"), 3e38]),
        np.array([1, -2, 2**40]),
        np.array([-0.0, np.inf, 1e300]),
    ]
    edges, moments = np.array([-1.0, 0.0, 1.0, 2.0, 4.0]), np.array([0.5, 3.0, 4.5, 11.0])
    histogram = HostHistogram(np.array([0, 3, 0, 1]), edges, moments, 2)
    found: list[HostItem] = [
        Step(
            130 + i,
            1000.5 + i,
            [ScalarChunk(tags, row)],
            {"h": histogram} if i == 1 else {},
            {"note": "*größer*"} if i == 2 else {},
            {},
            {"lr": 0.1} if i == 0 else {},
        )
        for i, row in enumerate(rows)
    ]
    for first, then in ((100, 2000.0), (300, 4000.0)):
        steps = np.arange(first, first + 200)
        values = np.stack([1 / steps, np.sqrt(steps)], 1)
        times = then + steps / 8
        found.append(HostBlock(("loss/total", "loss/l2"), steps, times, values, "what it is"))
    twice = [
        ScalarChunk(("a",), np.array([1.0], np.float32)),
        ScalarChunk(("b", "a"), np.array([2, 3])),
    ]
    found.insert(4, Step(300, 3000.0, twice))
    return found


@pytest.mark.parametrize("together", [True, False])
def test_the_bytes_are_those_of_before(tmp_path: Path, together: bool) -> None:
    sink = EventFileSink(tmp_path)
    for some in [items()] if together else [[item] for item in items()]:
        sink.write(Steps(some))
    sink.close()
    (path,) = event_files(tmp_path)
    records = [bytes(record) for record in RawEventFileLoader(str(path)).Load()]
    # The first one (the version) and the last one (the end of the session) hold the time of now.
    assert len(records) == 406
    assert hashlib.sha256(b"".join(records[1:-1])).hexdigest() == DIGEST
