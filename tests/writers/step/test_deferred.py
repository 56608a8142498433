"""Values that are made in the writer's thread."""

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.writers.reading import accumulated
from trainkit.writers import (
    BackgroundWriter,
    Deferred,
    EventFileWriter,
    MemoryWriter,
    PrCurve,
    PrefixWriter,
    SeveralWriter,
)
from trainkit.writers.guarded import GuardedWriter
from trainkit.writers.protocol import LeftOut


def test_it_is_made_by_the_thread_of_what_it_was_given(tmp_path: Path) -> None:
    made_by: list[str] = []

    def draw(counts: np.ndarray, half: np.ndarray) -> np.ndarray:
        made_by.append(threading.current_thread().name)
        assert counts.dtype == np.int64
        assert half.dtype == np.float32
        return np.full((4, 6, 3), counts.sum() * half, np.uint8)

    picture = Deferred(draw, (torch.tensor([2, 4]), torch.tensor(0.5, dtype=torch.bfloat16)))
    writer = BackgroundWriter(EventFileWriter(tmp_path))
    PrefixWriter(writer, "a").write_images(3, {"picture": picture})
    writer.write_texts(3, {"text": Deferred(lambda: "words", ())})
    writer.write_scalars(3, {"x": 1.0})
    writer.close()
    assert made_by == ["trainkit-writer"]
    assert picture.seconds > 0
    (event,) = accumulated(tmp_path).Images("a/picture")
    assert (event.step, event.width, event.height) == (3, 6, 4)
    assert accumulated(tmp_path).Tensors("text")[0].tensor_proto.string_val == [b"words"]


def test_one_that_fails_is_left_out_with_one_line(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> str:
        raise RuntimeError("no ink")

    def say_nothing() -> str:
        raise LeftOut("said already")

    memory = MemoryWriter()
    with caplog.at_level(logging.WARNING, "trainkit"):
        for step in (1, 2):
            memory.write_images(step, {
                "failing one": Deferred(fail, ()), "left out": Deferred(say_nothing, ()),
                "other": Deferred(lambda: np.zeros((2, 2, 1), np.uint8), ()),
                "no picture": Deferred(lambda: np.zeros((2, 2)), ()),
                "no curve": PrCurve(lambda: np.zeros((5, 3)), ()),
            })  # fmt: skip
            memory.write_scalars(step, {"x": 1.0})
        assert [step for step, _ in memory.images["other"]] == [1, 2]
    assert set(memory.images) == {"other"}
    assert len(memory.scalars["x"]) == 2
    assert len(caplog.messages) == 3
    assert "failing one cannot be made and is left out: RuntimeError: no ink" in caplog.messages


def test_a_curve_of_precision_and_recall() -> None:
    memory = MemoryWriter()
    numbers = torch.arange(12.0).view(6, 2)
    memory.write_images(1, {"pr": PrCurve(lambda x: x, (numbers,))})
    ((step, curve),) = memory.pr_curves["pr"]
    assert step == 1
    assert curve.equal(numbers)
    assert memory.images == {}


def test_the_time_of_writing_counts_too(tmp_path: Path) -> None:
    """Making this one takes no time, and compressing it some."""
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), np.uint8)
    picture, text = Deferred(lambda: noise, ()), Deferred(lambda: "words", ())
    writer = BackgroundWriter(EventFileWriter(tmp_path))
    writer.write_images(1, {"noise": picture})
    writer.write_texts(1, {"text": text})
    writer.close()
    assert 0.01 < picture.seconds < 10
    assert 0 < text.seconds < 0.01


class Own(MemoryWriter):
    """A writer with a verb of its own, which knows tensors only."""

    def write_images(self, step: int, images: Mapping[str, torch.Tensor]) -> None:
        super().write_images(step, {tag: image.clone() for tag, image in images.items()})


@pytest.mark.parametrize("wrap", [lambda own: own, lambda own: PrefixWriter(own, "a")])
def test_a_writer_of_a_users_own_gets_what_it_makes(
    wrap: Any, caplog: pytest.LogCaptureFixture
) -> None:
    own = Own()
    picture = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    GuardedWriter(wrap(own)).write_images(1, {
        "picture": Deferred(lambda: picture, ()), "plain": torch.ones(2, 2),
        "curve": PrCurve(lambda: np.zeros((6, 3)), ()),
    })  # fmt: skip
    found = {tag.removeprefix("a/"): images for tag, images in own.images.items()}
    assert set(found) == {"picture", "plain"}
    assert found["picture"][0][1][0].permute(1, 2, 0).numpy().tolist() == picture.tolist()
    assert not caplog.messages


def test_each_of_several_writers_makes_it() -> None:
    one, other = MemoryWriter(), MemoryWriter()
    several = SeveralWriter(one, other)
    GuardedWriter(several).write_texts(1, {"text": Deferred(lambda: "words", ())})
    assert one.texts == other.texts == {"text": [(1, "words")]}
