from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from trainkit import BackgroundWriter
from trainkit.dashboard.descriptions import describe
from trainkit.writers import Curve, Point
from trainkit.writers.sinks.event_file import EventFileSink


def test_a_description_stands_in_the_first_value_and_no_value_comes_twice(tmp_path: Path) -> None:
    writer = BackgroundWriter(EventFileSink(tmp_path, describe))
    curve = Curve(("loss/total",), "Of single batches.")
    for step in (1, 2, 3):
        writer.write_scalars(step, Point(curve, (1.0 / step,)))
        writer.write_scalars(step, {"updates/global_ratio": 0.5 * step, "mine": float(step)})
    writer.write_scalars(4, {"updates/global_ratio": 4.0, "gradients/global_norm": 2.0})
    writer.close()
    found = EventAccumulator(str(tmp_path)).Reload()
    assert [(e.step, e.value) for e in found.Scalars("updates/global_ratio")] == [
        (1, 0.5), (2, 1.0), (3, 1.5), (4, 4.0),
    ]  # fmt: skip
    assert [e.step for e in found.Scalars("loss/total")] == [1, 2, 3]
    assert [e.value for e in found.Scalars("mine")] == [1.0, 2.0, 3.0]
    for tag in ("updates/global_ratio", "gradients/global_norm"):
        assert found.SummaryMetadata(tag).summary_description == describe(tag) != ""
    assert found.SummaryMetadata("loss/total").summary_description.startswith(
        f"{describe('loss/total')} Of single batches."
    )
    assert "mine" not in found.summary_metadata


@pytest.mark.parametrize("tag", ["tensors.weights.norm/0.weight", "own/number", "losses"])
def test_other_tags_have_none(tag: str) -> None:
    assert describe(tag) == ""
