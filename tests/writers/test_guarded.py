"""What monitors write through: one layer that notes what was written."""

import sys
from typing import Any

import pytest
import torch

from trainkit import LossMonitor, MemoryMonitor, MemoryWriter, Scalars
from trainkit.writers import Curve, Point
from trainkit.writers.guarded import GuardedWriter


def calls(function: Any, *args: Any) -> int:
    """Python calls that it makes, itself left out."""
    found = 0

    def count(frame: Any, event: str, arg: Any) -> None:
        nonlocal found
        found += event == "call"

    sys.setprofile(count)
    try:
        function(*args)
    finally:
        sys.setprofile(None)
    return found


@pytest.mark.parametrize(
    "values",
    [
        {"a": 1.0, "b": 2.0},
        Scalars(("a", "b"), torch.ones(2)),
        Point(Curve(("a", "b")), (1.0, 2.0)),
    ],
    ids=["mapping", "Scalars", "Point"],
)
def test_it_costs_one_call(values: Any) -> None:
    class Nowhere(MemoryWriter):
        def write_scalars(self, step: int, scalars: Any) -> None: ...

    inside = Nowhere()
    writer = GuardedWriter(inside)
    writer.write_scalars(1, values)
    assert calls(writer.write_scalars, 2, values) == calls(inside.write_scalars, 2, values) + 1


def test_it_notes_what_was_written() -> None:
    writer = GuardedWriter(MemoryWriter())
    assert str(writer) == "nothing written so far"
    writer.write_scalars(3, {"a": 1.0})
    assert str(writer) == "1 tag written, last at iteration 3"
    tags, curve = ("a", "b", "c"), Curve(("d",))
    for step in (4, 5):
        writer.write_scalars(step, Scalars(tags, torch.ones(3)))
        writer.write_scalars(step, Point(curve, (1.0,)))
        writer.write_texts(step, {"t": "text"})
    assert writer.tags == {"a", "b", "c", "d", "t"}
    assert str(writer) == "5 tags written, last at iteration 5"
    # Which of many are the largest is not known yet.
    writer.write_scalars(6, Scalars(("x", "y"), torch.ones(2), largest=1))
    assert writer.tags == {"a", "b", "c", "d", "t"}
    assert writer.last == 6


def test_monitors_that_share_a_writer_share_what_is_said_about_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Down(MemoryWriter):
        def write_scalars(self, step: int, scalars: Any) -> None:
            raise OSError("down")

    down = Down()
    for monitor in (LossMonitor(writer=down), MemoryMonitor(writer=down)):
        monitor.writer.write_scalars(1, {"a": 1.0})
        assert isinstance(monitor.writer.failing, OSError)
    assert len(caplog.messages) == 1
