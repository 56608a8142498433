"""Every option that ships trains, where the rest of the run fits it."""

import json
from pathlib import Path

import pytest

from tests.cli.project import ROOT, call

SHORT = (
    "trainer.max_iterations=3", "trainer.progress_bar=false", "trainer.evaluate_train=false",
    "data.batch_size=64", "hydra.run.dir=run",
)  # fmt: skip

DIGITS = ("model=mlp",)
REGRESSION = ("model=mlp_regression", "data=diabetes", "metrics=regression")
BINARY = ("model=mlp_binary", "data=breast_cancer", "metrics=binary")

# What an option of a group needs besides; anything else goes with the digits.
WITH = {
    "loss=mse": REGRESSION,
    "loss=l1": REGRESSION,
    "loss=smooth_l1": REGRESSION,
    "loss=bce_with_logits": BINARY,
    "loss=bce": ("model=mlp_sigmoid", "data=breast_cancer", "metrics=binary_probability"),
    "optimizer=adversarial": ("+experiment=gan_digits",),
    "loss=nll": ("model=mlp_log_softmax",),
    "scheduler=reduce_on_plateau": (*DIGITS, "scheduler.metric=accuracy", "scheduler.mode=max"),
    # It has biases and norms of its own.
    "optimizer=adamw_no_decay": (),
}
CASES = [
    f"{group}={path.stem}"
    for group in ("loss", "optimizer", "scheduler", "monitor", "checkpoint", "trainer")
    for path in sorted((ROOT / "configs" / group).glob("[!_]*.yaml"))
]


@pytest.mark.parametrize("choice", CASES)
def test_an_option_trains(choice: str, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, "run", *WITH.get(choice, DIGITS), choice, *SHORT)
    assert done.status == 0, done.err
    status = json.loads((project / "run" / "run.json").read_text())
    assert status["status"] == "completed"
    assert status["monitoring"]["disabled"] == {}


@pytest.mark.parametrize("schedule", ["step", "multi_step", "cosine", "one_cycle"])
def test_warm_up_stands_in_front_of_any_schedule(
    schedule: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = call(
        capsys, "run", *DIGITS, f"scheduler={schedule}", "scheduler.warmup_iterations=2",
        "monitor=full", *SHORT,
    )  # fmt: skip
    assert done.status == 0, done.err


@pytest.mark.parametrize(
    "overrides",
    [
        ["loss.components.l2.weight=1e-4", "loss.components.l2.loss.parameters=['*.weight']"],
        ["loss.components.l1.weight=1e-5", "loss.components.entropy.weight=0.01"],
        ["loss.components.cross_entropy.loss.label_smoothing=0.1"],
    ],
)
def test_components_are_switched_on_from_the_command_line(
    overrides: list[str], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    done = call(capsys, "run", *DIGITS, "monitor=full", *overrides, *SHORT)
    assert done.status == 0, done.err
    events = EventAccumulator(str(project / "run" / "train"))
    events.Reload()
    tags = [t for t in events.Tags()["scalars"] if t.startswith("loss/") and t != "loss/total"]
    switched_on = {o.split(".")[2] for o in overrides} | {"cross_entropy"}
    assert {tag.removeprefix("loss/") for tag in tags} == switched_on
    for i, total in enumerate(events.Scalars("loss/total")):
        parts = sum(events.Scalars(tag)[i].value for tag in tags)
        assert parts == pytest.approx(total.value, rel=1e-5)
