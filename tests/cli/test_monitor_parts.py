"""Monitors in a config: the checklist is written there, one's own are added as everything else."""

import json
import shutil
import sys
from functools import partial
from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from tests.cli.project import ROOT, call
from tests.writers.reading import raw_scalars
from trainkit.handlers.parts import CHECKLIST

SHORT = (
    "model=mlp", "trainer.max_iterations=2", "trainer.progress_bar=false", "monitor.every=1",
    "trainer.evaluate_train=false", "data.batch_size=64", "hydra.run.dir=run",
)  # fmt: skip
OWN = "+monitor.parts.kurtosis._target_=kurtosis.KurtosisMonitor"


@pytest.fixture
def with_own(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delitem(sys.modules, "kurtosis", raising=False)
    shutil.copy(ROOT / "examples" / "own_monitor" / "kurtosis.py", project)
    return project


def tags(folder: Path, part: str = "train") -> set[str]:
    return set(raw_scalars(folder / "run" / part))


def test_the_checklist_in_yaml_is_that_of_attach_monitors() -> None:
    written = OmegaConf.load(ROOT / "configs" / "monitor" / "_checklist.yaml")
    made = instantiate(written, _convert_="all")["parts"]
    assert list(made) == list(CHECKLIST)
    for name, part in CHECKLIST.items():
        expected = part if isinstance(part, partial) else partial(part)
        assert (made[name].func, made[name].keywords) == (expected.func, expected.keywords)


def test_one_is_added_with_options_of_its_own_and_one_taken_away(
    with_own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = call(
        capsys, "run", *SHORT, OWN, "+monitor.parts.kurtosis.exclude=['*.bias']",
        "monitor.parts.gradients=null", "monitor.parts.updates=false", "monitor.weights=false",
    )  # fmt: skip
    assert done.status == 0, done.err
    found = tags(with_own)
    names = {tag.partition("/")[2] for tag in found if tag.startswith("tensors.weights.kurtosis/")}
    assert len(names) == 3
    assert all(name.endswith(".weight") for name in names)
    sections = {tag.partition("/")[0].removeprefix("tensors.").partition(".")[0] for tag in found}
    assert sections.isdisjoint({"gradients", "updates"})
    assert {tag for tag in found if tag.startswith(("weights", "tensors.weights"))} == {
        f"tensors.weights.kurtosis/{name}" for name in names
    }
    assert "loss/total" in found


def test_in_an_experiment_and_taken_away_on_the_command_line(
    with_own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (with_own / "experiments" / "heavy.yaml").write_text(
        "# Heavy tails\nmonitor:\n  parts:\n    kurtosis:\n"
        "      _target_: kurtosis.KurtosisMonitor\n      detail: module\n"
    )
    assert call(capsys, "run", "+experiment=heavy", *SHORT).status == 0
    assert any(tag.startswith("tensors.weights.kurtosis/") for tag in tags(with_own))
    shutil.rmtree(with_own / "run")
    off = "monitor.parts.kurtosis=null"
    assert call(capsys, "run", "+experiment=heavy", off, *SHORT).status == 0
    assert not any(tag.startswith("tensors.weights.kurtosis/") for tag in tags(with_own))


def test_one_of_ones_own_alone_is_written(
    with_own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = call(capsys, "run", *SHORT, "monitor=none", "monitor.metrics=false", OWN)
    assert done.status == 0, done.err
    sections = {tag.partition("/")[0] for tag in tags(with_own)}
    assert sections == {"tensors.weights.kurtosis", "monitor"}


def test_a_run_from_a_run_has_its_monitors(
    with_own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(capsys, "run", *SHORT, OWN, "monitor.parts.memory=null").status == 0
    (with_own / "run").rename(with_own / "first")
    done = call(capsys, "run", "--from", "first", "hydra.run.dir=run")
    assert done.status == 0, done.err
    found = tags(with_own)
    assert any(tag.startswith("tensors.weights.kurtosis/") for tag in found)
    assert not any(tag.startswith("memory/") for tag in found)
    assert json.loads((with_own / "run" / "run.json").read_text())["monitoring"]["disabled"] == {}


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("+monitor.parts.mine=3", ("monitor.parts.mine must be a mapping with a _target_",)),
        ("+monitor.parts.mine=true", ("monitor.parts.mine: true stands for one of losses",)),
        ("+monitor.parts.mine._target_=kurtosis.Kurtosis", ("did you mean KurtosisMonitor?",)),
        (f"{OWN} +monitor.parts.kurtosis.exlude=[]", ("did you mean exclude or include?",)),
        (
            "+monitor.parts.mine._target_=torch.nn.Linear",
            ("monitor.parts.mine: Linear needs in_features, out_features", "loss_fn, metric_names"),
        ),
        ("monitor.parts.gradient=null", ("did you mean monitor.parts.gradients?",)),
        ("monitor.parts=3", ("monitor.parts must be a mapping",)),
        ("monitor.parts.mine._target_=kurtosis.Kurtosis", ("+monitor.parts.mine._target_=...",)),
    ],
)
def test_what_is_wrong_is_one_line_and_no_run(
    override: str, parts: tuple[str, ...], with_own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = call(capsys, "run", *SHORT, *override.split(" "))
    assert done.status == 2
    assert done.err.count("\n") == 1
    for part in parts:
        assert part in done.err
    assert not (with_own / "run").exists()


def test_help_explains_the_argument_of_a_monitor(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = call(capsys, "help", "monitor.parts.losses.every_iteration")
    assert "Write the values of every iteration" in " ".join(done.out.split()).replace(
        "write", "Write"
    )
    assert "Monitors by name" in call(capsys, "help", "monitor.parts").out
