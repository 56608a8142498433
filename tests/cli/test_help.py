"""`trainkit help KEY` and `trainkit list GROUP=OPTION`: what a key is, from the docstrings."""

from dataclasses import fields
from pathlib import Path

import pytest

from tests.cli.project import call
from trainkit import settings
from trainkit.config.key_docs import documented, meaning
from trainkit.config.preview import look_up


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["trainer.clip_grad_norm"], ["clipped to this", "float | null", "default   null",
                                      "configs/trainer/default.yaml:"]),
        (["optimizer.lr", "optimizer=sgd"], ["learning rate", "torch.optim.SGD", "default   0.01"]),
        (["optimizer.momentum"], ["with optimizer=rmsprop, optimizer=sgd", "momentum factor"]),
        (["data.batch_size"], ["Samples per batch.", "trainkit.data.digits", "32"]),
        (["loss.components.l2.weight"], ["share in the total loss; 0 leaves it out"]),
        (["loss.components.cross_entropy.loss.label_smoothing"], ["amount of smoothing"]),
        (["model.width", "model=net"], ["Nobody has written what it means", "mine.Net", "16",
                                        "configs/model/net.yaml:3"]),
        (["sweep.on_failure"], ["`continue` with the others or `stop`"]),
        (["name"], ["What you call the run"]),
        (["scheduler"], ["options (trainkit run scheduler=OPTION)", "cosine", "warmup_iterations"]),
        (["experiment"], ["digits", "own"]),
        (["spare"], ["A group of its own"]),
        (["run"], ["trainkit run [+experiment=NAME]"]),
    ],
)  # fmt: skip
def test_explained(
    arguments: list[str], expected: list[str], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = call(capsys, "help", *arguments)
    assert done.status == 0, done.err
    for part in expected:
        assert part in done.out, done.out
    if arguments[0] not in ("experiment", "run"):
        assert all(len(line) <= 80 for line in done.out.splitlines())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["help", "trainer.epohcs"], "did you mean trainer.epochs?"),
        (["help", "learning_rate"], "did you mean optimizer.lr?"),
        (["help", "optimizer.batch_size"], "did you mean data.batch_size?"),
        (["help", "optimizer.lr", "data.seed"], "help takes one key"),
        (["help", "optimizer.lr", "optimizer=sdg"], "option of optimizer 'sdg'; did you mean sgd"),
        (["list", "optimizer=sdg"], "did you mean sgd?"),
        (["list", "optimiser"], "did you mean optimizer?"),
        (["list", "experiment=digit"], "did you mean digits"),
        (["list", "a", "b"], "one group or option, got a b"),
        (["resum", "runs/x"], "did you mean resume?"),
        (["resume", "runs/x"], "there is no 'runs/x'"),
        (["hlep"], "did you mean help?"),
    ],
)
def test_refused(
    arguments: list[str], expected: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = call(capsys, *arguments)
    assert done.status == 2
    (line,) = done.err.splitlines()
    assert line.startswith("trainkit: ")
    assert expected in line


def test_an_option_is_listed_with_its_keys_and_meanings(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = call(capsys, "list", "optimizer=adamw_no_decay").out
    lines = out.splitlines()
    assert "  optimizer.weight_decay=0.01" in lines
    assert "  optimizer.params.groups.no_decay.weight_decay=0.0" in lines
    assert "    Of the parameters of this group" in lines
    assert call(capsys, "list", "model=net").out.count("model.width=16") == 1
    assert "override /model: net" in call(capsys, "list", "experiment=own").out
    assert "A model of my own" in call(capsys, "list", "model").out


@pytest.mark.parametrize("name", ["TrainerSettings", "MonitorSettings", "CheckpointSettings",
                                  "SweepSettings"])  # fmt: skip
def test_every_setting_is_explained(name: str) -> None:
    kind = getattr(settings, name)
    assert set(documented(kind)) >= {field.name for field in fields(kind)}


def test_every_key_of_the_default_config_is_explained(project: Path) -> None:
    shown = look_up([])
    unexplained = [key for key in shown.names() if not meaning(key, shown.config).text]
    # Mappings whose keys the user chooses.
    assert unexplained == ["metrics.accuracy"]
