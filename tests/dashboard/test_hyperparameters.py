"""The row of a run in HPARAMS, as TensorBoard's own plugin reads it."""

import math
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, metadata

from trainkit.dashboard.hyperparameters import RunRow, choices


def session(folder: Path) -> tuple[dict[str, object], object, EventAccumulator]:
    found = EventAccumulator(str(folder)).Reload()

    def content(tag: str) -> bytes:
        return found.SummaryMetadata(tag).plugin_data.content

    start = metadata.parse_session_start_info_plugin_data(content(metadata.SESSION_START_INFO_TAG))
    values = {
        name: getattr(value, str(value.WhichOneof("kind"))) for name, value in start.hparams.items()
    }
    return values, start, found


def test_what_was_chosen_has_short_names_and_nothing_is_left_out() -> None:
    config = {
        "optimizer": {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1, "foreach": None},
        "model": {"_target_": "mine.Net", "hidden": [8, 4], "bias": True},
        "trainer": {"clip_grad_norm": None, "amp": "off"},
        "monitor": {"every": 1},
    }
    assert choices(config) == {
        "optimizer": "SGD", "optimizer.lr": 0.1, "optimizer.foreach": "None",
        "model": "Net", "model.hidden": "[8, 4]", "model.bias": True,
        "trainer.clip_grad_norm": "None", "trainer.amp": "off",
    }  # fmt: skip


def test_the_row_has_what_counts_and_is_written_whole(tmp_path: Path) -> None:
    row = RunRow(tmp_path, "digits/1", {"lr": 0.1, "bias": True, "model": "MLP"})
    row.update(0, {}, {})
    row.update(10, {"loss": 0.5}, {"loss": 0.75, "loss/l2": 0.25})
    (path,) = tmp_path.iterdir()
    values, start, found = session(tmp_path)
    assert values == {"lr": 0.1, "bias": True, "model": "MLP", "outcome": "running"}
    assert start.group_name == "digits/1"
    points = {tag: found.Scalars(tag) for tag in found.Tags()["scalars"]}
    assert {tag: [(p.step, p.value) for p in some] for tag, some in points.items()} == {
        "results/best_loss": [(10, 0.5)], "results/last_loss": [(10, 0.75)],
    }  # fmt: skip
    row.update(20, {"loss": 0.5}, {"loss": 0.25}, {"loss": 0.125}, "completed")
    (newest,) = tmp_path.iterdir()
    assert newest.name > path.name


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        ("completed", api_pb2.STATUS_SUCCESS),
        ("diverged", api_pb2.STATUS_FAILURE),
        ("failed", api_pb2.STATUS_FAILURE),
        ("interrupted", api_pb2.STATUS_FAILURE),
    ],
)
def test_how_it_ended_is_a_column_and_a_status(tmp_path: Path, outcome: str, status: int) -> None:
    RunRow(tmp_path, "x", {"lr": 0.1}).update(1, {}, {"loss": 1.0}, outcome=outcome)
    values, _, found = session(tmp_path)
    assert values["outcome"] == outcome
    content = found.SummaryMetadata(metadata.SESSION_END_INFO_TAG).plugin_data.content
    assert metadata.parse_session_end_info_plugin_data(content).status == status


def test_a_value_that_is_not_finite_does_not_take_the_row_away(tmp_path: Path) -> None:
    row = RunRow(tmp_path, "x", {"lr": 0.1})
    row.update(5, {"loss": 0.5}, {"loss": math.nan, "accuracy": 0.5}, outcome="diverged")
    _, _, found = session(tmp_path)
    assert set(found.Tags()["scalars"]) == {"results/best_loss", "results/last_accuracy"}
