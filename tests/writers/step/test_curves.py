"""Curves: a point for each iteration, then means; read and written by the block."""

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.writers.reading import accumulated, event_files, raw_events, raw_scalars
from trainkit.writers import (
    BackgroundWriter,
    Curve,
    EventFileWriter,
    MemoryWriter,
    Point,
    PrefixWriter,
    SeveralWriter,
    open_writer,
)
from trainkit.writers.step import tracks
from trainkit.writers.tensorboard.blocks import block_records


def until(condition: Any) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def by_definition(values: list[float], exact: int) -> list[tuple[int, float]]:
    """`exact` points of one iteration each, as many of two, of four; the last one by itself."""
    found, start, size = [], 0, 1
    while start < len(values):
        for _ in range(exact):
            some = values[start : start + size]
            if not some:
                break
            if len(some) < size or (start + size >= len(values) and len(some) < size):
                *before, last = some
                if before:
                    found.append((start + len(before), sum(before) / len(before)))
                found.append((start + len(some), last))
            else:
                found.append((start + size, sum(some) / size))
            start += size
        size *= 2
    return found


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.integers(1, 200), st.integers(1, 9), st.integers(1, 50), st.randoms())
def test_means_are_those_of_the_definition(n: int, exact: int, most: int, random: Any) -> None:
    """However the points are cut into blocks."""
    values = [random.uniform(-5, 5) for _ in range(n)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainkit.writers.step.tracks.EXACT", exact)
        patch.setattr("trainkit.writers.gatherer.EXACT", exact)
        patch.setattr("trainkit.writers.gatherer.MOST", most)
        memory, curve = MemoryWriter(), Curve(("a",))
        for step, value in enumerate(values, start=1):
            if random.random() < 0.3:
                memory.write_scalars(step, {"sampled": 1.0})
            memory.write_scalars(step, Point(curve, (value,)))
        memory.close()
        found = memory.scalars["a"]
    expected = by_definition(values, exact)
    assert [step for step, _ in found] == [step for step, _ in expected]
    assert [value for _, value in found] == pytest.approx([value for _, value in expected])
    assert found[0] == (1, values[0])
    assert found[-1][0] == n


def test_a_mean_over_a_nan_is_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainkit.writers.step.tracks.EXACT", 2)
    monkeypatch.setattr("trainkit.writers.gatherer.EXACT", 2)
    memory, curve = MemoryWriter(), Curve(("a", "b"))
    for step, value in enumerate([1.0, 2.0, 3.0, math.nan, 5.0, 7.0], start=1):
        memory.write_scalars(step, Point(curve, (value, 1.0)))
    memory.close()
    assert [step for step, _ in memory.scalars["a"]] == [1, 2, 4, 6]
    assert [v for _, v in memory.scalars["a"]] == pytest.approx([1, 2, math.nan, 6], nan_ok=True)
    assert [v for _, v in memory.scalars["b"]] == [1.0] * 4


@pytest.mark.parametrize("start", [1, 120, 16_300, 2_097_100, 2**40])
def test_tensorboard_reads_every_point(tmp_path: Path, start: int) -> None:
    """Beside what is sampled; whatever the number of bytes of a step."""
    writer, curve = open_writer(tmp_path), Curve(("loss/total", "loss/l2"), "what it is")
    steps = range(start, start + 200)
    for step in steps:
        if step % 50 == 1:
            writer.write_scalars(step, {"sampled": step, "other": 1.0})
        writer.write_scalars(step, Point(curve, (step / 3, -step)))
    writer.close()
    accumulator = accumulated(tmp_path)
    for tag, number in (("loss/total", 1 / 3), ("loss/l2", -1.0)):
        points = [(event.step, event.value) for event in accumulator.Scalars(tag)]
        assert points == [(step, float(np.float32(step * number))) for step in steps]
        times = [event.wall_time for event in accumulator.Scalars(tag)]
        assert times == sorted(times)
        assert abs(times[-1] - time.time()) < 30
        metadata = accumulator.SummaryMetadata(tag)
        assert metadata.plugin_data.plugin_name == "scalars"
        assert metadata.summary_description.startswith("what it is")
        assert "10,000" in metadata.summary_description
    assert [e.step for e in accumulator.Scalars("sampled")] == [s for s in steps if s % 50 == 1]
    # Steps never go back in the file: some services refuse those that do.
    (path,) = event_files(tmp_path)
    order = [event.step for event in raw_events(path)[1:]]
    assert order == sorted(order)


def test_points_are_written_though_nothing_else_comes() -> None:
    memory = MemoryWriter()
    writer, curve = BackgroundWriter(memory), Curve(("a",))
    writer.write_scalars(1, Point(curve, (1.0,)))
    until(lambda: memory.scalars == {"a": [(1, 1.0)]})
    writer.close()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda memory: memory,
        BackgroundWriter,
        SeveralWriter,
        lambda memory: BackgroundWriter(SeveralWriter(memory)),
        lambda memory: PrefixWriter(memory, "p"),
    ],
)
def test_every_writer_takes_points(wrap: Any) -> None:
    memory = MemoryWriter()
    writer, curve = wrap(memory), Curve(("a", "b"))
    for step in range(1, 5):
        row = torch.tensor([step, 2.0]) if step % 2 else (float(step), 2.0)
        writer.write_scalars(step, Point(curve, row))
    writer.close()
    prefix = "p/" if isinstance(writer, PrefixWriter) else ""
    assert memory.scalars[f"{prefix}a"] == [(step, float(step)) for step in range(1, 5)]
    assert memory.scalars[f"{prefix}b"] == [(step, 2.0) for step in range(1, 5)]


def test_who_knows_no_points_gets_a_mapping() -> None:
    point = Point(Curve(("a", "b")), (1.0, 2.0))
    assert {tag: float(value) for tag, value in point.items()} == {"a": 1.0, "b": 2.0}
    assert len(point) == 2


def test_a_long_curve_has_few_points(tmp_path: Path) -> None:
    """A hundred thousand iterations; the mean of all of them is kept."""
    writer, curve = EventFileWriter(tmp_path), Curve(("a",))
    random = np.random.default_rng(0).normal(size=100_000)
    for step, value in enumerate(random.tolist(), start=1):
        writer.write_scalars(step, Point(curve, (value,)))
    writer.close()
    points = raw_scalars(tmp_path)["a"]
    assert 30_000 < len(points) < 50_000
    weights = np.diff([0, *(step for step, _ in points)])
    assert np.average([value for _, value in points], weights=weights) == pytest.approx(
        random.mean(), abs=1e-7
    )
    assert [points[i][0] for i in (0, 9_999, 10_000, -1)] == [1, 10_000, 10_002, 100_000]


def test_negative_steps_are_steps_too() -> None:
    records = list(
        block_records(("a",), np.array([-2, -1]), np.array([1.0, 2.0]), np.array([[1.0], [2.0]]))
    )
    assert [first for first, *_ in records] == [-2, -1]


def test_windows_double() -> None:
    assert [tracks.window(row) for row in (0, 9_999, 10_000, 10_001, 29_999, 30_000)] == [
        (1, 0), (1, 0), (2, 0), (2, 1), (2, 1), (4, 0),
    ]  # fmt: skip
