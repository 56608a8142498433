"""Runs that are read back from their folders."""

from functools import partial
from math import isnan
from pathlib import Path

import pytest
import torch

import trainkit
from tests.cli.project import call, project
from tests.training.parts import go, network
from trainkit.rundir import load_checkpoint

__all__ = ["project"]


def test_a_run_of_the_command_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(
        capsys, "run", "+experiment=own", "trainer.epochs=2", "monitor=none", "data.batch_size=500",
        "hydra.run.dir=r", "optimizer.lr=0.05",
    )  # fmt: skip
    assert done.status == 0, done.err
    torch.manual_seed(5)
    before = torch.get_rng_state()
    run = trainkit.load_run("r")
    assert run.config["optimizer"]["lr"] == 0.05
    assert "optimizer.lr=0.05" in run.overrides
    assert run.status["status"] == "completed"
    assert [row["epoch"] for row in run.history] == [1, 2]
    assert run.history[-1]["validation/loss"] == run.last["validation"]["loss"]
    assert run.test["accuracy"] == run.status["test"]["accuracy"]
    best = load_checkpoint(project / "r" / "checkpoints" / "best.pt")["models"]["model"]
    assert type(run.model).__name__ == "Net"
    assert not run.model.training
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, best[name])
    assert torch.equal(before, torch.get_rng_state()), "reading back draws no random number"
    assert "completed at iteration 6" in repr(run)


def test_a_run_made_of_python_objects_needs_the_model(tmp_path: Path) -> None:
    trainer = trainkit.TrainerSettings(epochs=3, progress_bar=False, on_non_finite="warn")
    result = go(tmp_path / "r", optimizer=partial(torch.optim.SGD, lr=1e30), trainer=trainer)
    run = trainkit.load_run(result.directory)
    assert run.config == {}
    assert isnan(run.last["validation"]["loss"]), "JSON has no NaN, Python has"
    with pytest.raises(ValueError, match="model="):
        _ = run.model
    model = network()
    loaded = trainkit.load_run(result.directory, model=model, weights="last").model
    assert loaded is model
    for name, value in result.models["model"].state_dict().items():
        assert torch.equal(value.isnan(), loaded.state_dict()[name].isnan())
    other = trainkit.load_run(result.directory, model=torch.nn.Linear(3, 3))
    with pytest.raises(ValueError, match="does not fit the model"):
        _ = other.model


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no run in"):
        trainkit.load_run(tmp_path)
    with pytest.raises(ValueError, match="best or last, got 'first'"):
        trainkit.load_run(tmp_path, weights="first")
    result = go(tmp_path / "r")
    for file in (result.directory / "checkpoints").iterdir():
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"best\.pt is damaged or no checkpoint"):
        _ = trainkit.load_run(result.directory, model=network()).model
    for file in (result.directory / "checkpoints").iterdir():
        file.unlink()
    with pytest.raises(FileNotFoundError, match="neither best"):
        _ = trainkit.load_run(result.directory, model=network()).model


def test_the_version() -> None:
    from importlib.metadata import version

    assert trainkit.__version__ == version("trainkit")
