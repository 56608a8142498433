"""Every experiment on real data composes, runs, and reaches what its file says."""

import json
import math
import operator
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from trainkit.cli.main import main
from trainkit.data import ALPHABET

FOLDER = Path(__file__).parents[1] / "experiments"
SMALL = ("digits", "digits_nll", "breast_cancer", "breast_cancer_bce", "diabetes")
ALL = (*SMALL, "charlm", "gan_digits", "cartpole")
FEW = ["data.validation=0.01", "data.test=0.01"]  # held-out characters of charlm
SHORT = {
    "charlm": ["scheduler.warmup_iterations=1", "samples.text.length=5", "model.layers=2", *FEW],
}

OPTIMIZERS = {"gan_digits": ["/generator", "/discriminator"]}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def trainkit_run(experiment: str, *overrides: str) -> dict[str, Any]:
    """The `run.json` of `trainkit run +experiment=...`, in the folder `run`."""
    arguments = ["hydra.run.dir=run", "trainer.progress_bar=false", *overrides]
    assert main(["run", f"+experiment={experiment}", *arguments]) == 0
    status: dict[str, Any] = json.loads(Path("run/run.json").read_text())
    assert status["status"] == "completed"
    return status


def stated(experiment: str) -> tuple[str, str, float]:
    """What the file says the run reaches on the test data: metric, comparison, number."""
    text = (FOLDER / f"{experiment}.yaml").read_text()
    found = re.search(r"^# Reaches: test (\w+) (>=|<=) ([\d.]+) \(", text, re.MULTILINE)
    assert found, f"{experiment}.yaml must say '# Reaches: test METRIC >= NUMBER (measured: ...)'"
    return found[1], found[2], float(found[3])


def tags(part: str) -> dict[str, list[str]]:
    events = EventAccumulator(f"run/{part}")
    events.Reload()
    found: dict[str, list[str]] = events.Tags()
    return found


@pytest.mark.parametrize("experiment", ALL)
def test_the_file_says_what_how_long_and_how_well(experiment: str) -> None:
    lines = (FOLDER / f"{experiment}.yaml").read_text().split("\n")
    assert re.match(r"# \S", lines[0])
    assert re.match(r"# Takes: about \d+ ", lines[1])
    stated(experiment)


@pytest.mark.parametrize("experiment", ALL)
def test_an_experiment_runs(experiment: str) -> None:
    status = trainkit_run(experiment, "trainer.max_iterations=2", *SHORT.get(experiment, []))
    metric, _, _ = stated(experiment)
    assert math.isfinite(status["test"][metric])
    assert all(math.isfinite(value) for value in status["test"].values())
    assert status["monitoring"]["disabled"] == {}
    watched = set(tags("train")["scalars"])
    for optimizer in OPTIMIZERS.get(experiment, [""]):
        assert {f"gradients{optimizer}/global_norm", f"updates{optimizer}/global_ratio"} <= watched
    assert "loss/total" in watched
    predictions = "mean" if experiment == "diabetes" else "entropy"
    assert f"predictions/{predictions}" in watched
    assert f"metrics/{metric}" in tags("validation")["scalars"]


@pytest.mark.slow
@pytest.mark.parametrize("experiment", [*SMALL, pytest.param("cartpole", marks=pytest.mark.long)])
def test_an_experiment_reaches_what_it_says(experiment: str) -> None:
    metric, comparison, number = stated(experiment)
    status = trainkit_run(experiment)
    compare = {">=": operator.ge, "<=": operator.le}[comparison]
    assert compare(status["test"][metric], number)


@pytest.mark.long
def test_gan_digits_makes_confident_digits_of_every_class() -> None:
    metric, _, number = stated("gan_digits")
    status = trainkit_run("gan_digits")
    assert metric == "sample_confidence"
    assert status["test"][metric] >= number
    assert status["test"]["sample_classes"] == 10
    assert status["test"]["sample_balance"] > 0.9
    assert "generated/samples" in tags("train")["images"]


def test_parts_of_an_experiment_can_be_exchanged() -> None:
    status = trainkit_run(
        "digits", "model=mlp", "optimizer=sgd", "optimizer.lr=0.1", "trainer.epochs=3"
    )
    assert status["test"]["accuracy"] > 0.8


@pytest.mark.slow
def test_charlm_learns_and_shows_what_it_would_write() -> None:
    status = trainkit_run(
        "charlm",
        "trainer.max_iterations=60",
        "trainer.evaluate_every=30",
        "scheduler.warmup_iterations=10",
        "samples.text.length=20",
        "model.layers=3",
        *FEW,
    )
    test = status["test"]
    assert test["bits_per_character"] == pytest.approx(test["loss"] / math.log(2), rel=1e-5)
    assert test["bits_per_character"] < 5 < math.log2(len(ALPHABET))
    events = EventAccumulator("run/train", size_guidance={"tensors": 0})
    events.Reload()
    written = [
        event.tensor_proto.string_val[0].decode()
        for tag in events.Tags()["tensors"]
        if tag == "generated/text"
        for event in events.Tensors(tag)
    ]
    assert len(written) == 2
    for text in written:
        letters = "\n".join(line[4:] for line in text.split("\n"))
        assert letters.startswith("The ")
        assert len(letters) == 24


@pytest.mark.slow
def test_text_samples_do_not_disturb_the_training() -> None:
    weights = []
    for number, override in enumerate(["samples.text.length=5", "samples={}"]):
        overrides = ["trainer.max_iterations=4", "trainer.evaluate_every=2", override]
        arguments = ["scheduler.warmup_iterations=1", "model.layers=2", "model.dropout=0.1", *FEW]
        folder = f"hydra.run.dir=run_{number}"
        assert main(["run", "+experiment=charlm", folder, *overrides, *arguments]) == 0
        state = torch.load(f"run_{number}/checkpoints/last.pt", weights_only=False)
        weights.append(state["models"]["model"])
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name
