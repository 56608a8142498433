"""Choosing another part in the place of an experiment's takes the experiment's settings along."""

from pathlib import Path

import pytest
import yaml

from tests.cli.project import ROOT, call
from tests.cli.test_run import SHORT, last_line, saved

EXPERIMENTS = sorted(path.stem for path in (ROOT / "experiments").glob("*.yaml"))
OPTIONS = {
    group: sorted(path.stem for path in (ROOT / "configs" / group).glob("[!_]*.yaml"))
    for group in ("optimizer", "scheduler")
} | {"loss": ["cross_entropy", "mse"], "checkpoint": ["none"]}
PLAIN: dict[str, object] = {}


def composed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, object]]:
    done = call(capsys, "run", *arguments, "--cfg", "job", "--resolve")
    assert done.status == 0, done.err
    config: dict[str, dict[str, object]] = yaml.safe_load(done.out)
    return config


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == "breast_cancer" else pytest.mark.long)
        for name in EXPERIMENTS
    ],
)
def test_the_config_holds_the_chosen_option_alone(
    name: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = composed(capsys, f"+experiment={name}")
    own = yaml.safe_load((ROOT / "experiments" / f"{name}.yaml").read_text())
    chosen = {
        key.removeprefix("override /"): option
        for item in own["defaults"]
        for key, option in item.items()
    }
    for group, options in OPTIONS.items():
        for option in options:
            after = composed(capsys, f"+experiment={name}", f"{group}={option}")
            meant = chosen.get(group, {"scheduler": "constant", "checkpoint": "default"}.get(group))
            choice = f"{group}={option}"
            if choice not in PLAIN:
                PLAIN[choice] = composed(capsys, choice)[group]
            expected = before[group] if option == meant else PLAIN[choice]
            assert after[group] == expected, f"{group}={option}"
            for other in before:
                assert other == group or after[other] == before[other]


def checks_of(name: str) -> list[tuple[str, str]]:
    return [
        (name, f"{group}={option}")
        for group in ("optimizer", "scheduler")
        for option in OPTIONS[group]
        if option != "adversarial"
    ]


@pytest.mark.parametrize(
    ("name", "choice"),
    [
        ("breast_cancer", "optimizer=adam"),
        ("diabetes", "optimizer=sgd"),
        ("diabetes", "scheduler=one_cycle"),
        ("digits", "scheduler=reduce_on_plateau"),
        ("digits_nll", "optimizer=adamw_no_decay"),
        ("breast_cancer_bce", "scheduler=step"),
        pytest.param("cartpole", "optimizer=rmsprop", marks=pytest.mark.slow),
        pytest.param("charlm", "optimizer=sgd scheduler=constant", marks=pytest.mark.slow),
    ],
)
def test_it_trains(
    name: str, choice: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = call(
        capsys, "run", f"+experiment={name}", *choice.split(), "trainer.max_iterations=1",
        "trainer.progress_bar=false", "trainer.evaluate_train=false", "monitor=none",
    )  # fmt: skip
    assert done.status == 0, done.err


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param("charlm", marks=pytest.mark.long), "cartpole"])
def test_every_optimizer_and_scheduler_passes_the_checks(
    name: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Up to the last argument that is wrong on purpose: everything before it was found right."""
    for _, choice in checks_of(name):
        done = call(capsys, "run", f"+experiment={name}", choice, "+metrics.x._target_=no.such")
        assert done.status == 2
        assert "metrics.x._target_: there is no module 'no'" in done.err, (choice, done.err)


def test_one_line_says_what_was_left_out(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, "run", "+experiment=breast_cancer", "optimizer=adam", *SHORT)
    assert done.status == 0, done.err
    line = (
        "optimizer=adam replaces sgd: optimizer.lr=0.01, optimizer.momentum=0.9 of trainkit's "
        "experiments/breast_cancer.yaml left out"
    )
    assert line in (last_line(done.out) / "run.log").read_text()
    assert saved(last_line(done.out))["optimizer"]["lr"] == 0.001


def test_what_is_not_replaced_stays(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = composed(capsys, "+experiment=charlm", "optimizer=adamw", "scheduler=cosine")
    assert config["optimizer"]["betas"] == [0.9, 0.95]
    assert config["scheduler"]["warmup_iterations"] == 100
    assert config["trainer"]["max_iterations"] == 3000


def test_of_an_experiment_that_goes_back_to_another(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "experiments" / "first.yaml").write_text(
        "defaults:\n  - override /optimizer: sgd\noptimizer:\n  momentum: 0.5\n"
    )
    (project / "experiments" / "second.yaml").write_text(
        "defaults: [first, _self_]\noptimizer:\n  lr: 7\n"
    )
    kept = composed(capsys, "+experiment=second", "optimizer=sgd")["optimizer"]
    assert (kept["momentum"], kept["lr"]) == (0.5, 7)
    assert composed(capsys, "+experiment=second", "optimizer=adam")["optimizer"]["lr"] == 0.001


def test_in_a_sweep_each_job_by_itself(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(
        capsys, "run", "-m", "+experiment=breast_cancer", "optimizer=adam,sgd",
        "trainer.max_iterations=1", "trainer.progress_bar=false", "monitor=none",
    )  # fmt: skip
    assert done.status == 0, done.err
    sweep = last_line(done.out)
    assert saved(sweep / "0_optimizer=adam")["optimizer"]["lr"] == 0.001
    assert saved(sweep / "1_optimizer=sgd")["optimizer"]["lr"] == 0.01
