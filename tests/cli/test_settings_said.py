"""Settings that change nothing are said, and some that look odd work."""

import json
from pathlib import Path

import pytest

from tests.cli.project import call
from tests.cli.test_run import SHORT, last_line, saved

QUIET = [word for word in SHORT if not word.startswith("monitor")]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["monitor=full", "monitor.budget=0.001"], "monitor.budget=0.001 has no effect: "
         "monitor.every=1 says how often"),
        (["monitor.exclude=['*']"], "monitor.exclude=['*'] leaves out every parameter and module"),
        (["monitor.include=[]"], "monitor.include=[] leaves out every parameter and module"),
    ],
)  # fmt: skip
def test_what_has_no_effect_is_said(
    arguments: list[str], line: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = call(capsys, "run", "model=net", *QUIET, *arguments)
    assert done.status == 0, done.err
    assert (last_line(done.out) / "run.log").read_text().count(line) == 1


@pytest.mark.parametrize("arguments", [["monitor.every=3"], ["monitor.budget=0.1"], []])
def test_what_has_one_is_not(
    arguments: list[str], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = call(capsys, "run", "model=net", *QUIET, *arguments)
    assert "no effect" not in (last_line(done.out) / "run.log").read_text()


def test_class_weights_are_a_list(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    losses = []
    for weights in ("[1,1,1,1,1,1,1,1,1,1]", "[3,1,1,1,1,1,1,1,1,1]"):
        done = call(
            capsys, "run", "model=net", *SHORT,
            f"+loss.components.cross_entropy.loss.weight={weights}",
        )  # fmt: skip
        assert done.status == 0, done.err
        run = json.loads((last_line(done.out) / "run.json").read_text())
        losses.append(run["last"]["validation"]["loss"])
    assert losses[0] != losses[1]
    again = call(capsys, "run", "--from", str(last_line(done.out)))
    assert again.status == 0, again.err
    assert torch.get_default_dtype() is torch.float32


@pytest.mark.parametrize(("kind", "tag"), [("auto", False), ("logits", True), ("false", False)])
def test_the_kind_of_predictions_can_be_said(
    kind: str, tag: bool, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    done = call(
        capsys, "run", "model=net", *QUIET, "monitor=full", f"monitor.predictions={kind}",
        "loss._target_=mine.loss", "~loss.components",
    )  # fmt: skip
    assert done.status == 0, done.err
    events = EventAccumulator(str(last_line(done.out) / "train"))
    events.Reload()
    assert ("predictions/entropy" in events.Tags()["scalars"]) == tag
    said = "monitor.predictions=logits" in (last_line(done.out) / "run.log").read_text()
    assert said == (kind == "auto")


def test_training_without_validation(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, "run", "model=net", "data.validation=0", "data.test=0", *SHORT)
    assert done.status == 0, done.err
    directory = last_line(done.out)
    assert json.loads((directory / "run.json").read_text())["status"] == "completed"
    assert not (directory / "validation").exists()


def test_inherited_arguments_are_said(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, "run", "model=net", "optimizer._target_=torch.optim.SGD", *SHORT)
    assert done.status == 0, done.err
    assert saved(last_line(done.out))["optimizer"]["lr"] == 0.001
    line = (
        "optimizer: torch.optim.SGD takes no betas, eps, amsgrad; left out; keeps lr=0.001, "
        "weight_decay=0.0 of trainkit's configs/optimizer/adam.yaml"
    )
    assert line in (last_line(done.out) / "run.log").read_text()
