"""Runs that are watched: what is written, and that it changes nothing."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from tests.training.parts import FULL, QUIET, go, weights
from trainkit.handlers import LossMonitor
from trainkit.rundir import load_checkpoint, read_status
from trainkit.settings import MonitorSettings, TrainerSettings

GOES_ON = TrainerSettings(epochs=3, progress_bar=False, on_non_finite="warn")


def events(directory: Path, part: str) -> EventAccumulator:
    found = EventAccumulator(str(directory / part), size_guidance={"scalars": 0, "images": 0})
    found.Reload()
    return found


def steps(found: EventAccumulator, tag: str) -> list[int]:
    return [event.step for event in found.Scalars(tag)]


def test_the_same_tags_in_each_part_with_the_trainers_iteration(tmp_path: Path) -> None:
    result = go(tmp_path, monitor=FULL, config="a: 1\n")
    train, validation, test = (events(tmp_path, p) for p in ("train", "validation", "test"))
    every, epochs = list(range(1, 22)), [7, 14, 21]
    for tag in ("loss/total", "loss/cross_entropy", "loss/l2"):
        assert steps(train, tag) == every
        assert steps(validation, tag) == epochs
        assert steps(test, tag) == [21]
    for part in (train, validation):
        assert steps(part, "metrics/accuracy") == epochs
    for tag in ("gradients/global_norm", "weights/global_norm", "updates/global_ratio",
                "predictions/entropy"):  # fmt: skip
        assert steps(train, tag) == every
    assert "throughput/samples_per_second" in train.Tags()["scalars"]
    last = {e.step: e.value for e in validation.Scalars("loss/total")}[21]
    assert last == pytest.approx(result.last["validation"]["loss"], rel=1e-5)
    accuracy = validation.Scalars("metrics/accuracy")[-1].value
    assert accuracy == pytest.approx(result.last["validation"]["accuracy"])
    assert test.Scalars("metrics/accuracy")[0].value == pytest.approx(result.test["accuracy"])
    assert b"a: 1" in train.Tensors("about/6_config")[0].tensor_proto.string_val[0]


def test_components_add_up_to_the_total(tmp_path: Path) -> None:
    go(tmp_path, monitor=FULL)
    for part in ("train", "validation"):
        found = events(tmp_path, part)
        parts = zip(*(found.Scalars(f"loss/{n}") for n in ("total", "cross_entropy", "l2")),
                    strict=True)  # fmt: skip
        for total, *components in parts:
            assert total.value == pytest.approx(sum(c.value for c in components), rel=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"accumulation_steps": 3, "clip_grad_norm": 0.1},
        {"amp": "bf16", "evaluate_every": 2},
        {"amp": "fp16", "clip_grad_value": 0.01},
    ],
)
def test_a_watched_run_is_the_same_bit_by_bit(tmp_path: Path, options: dict[str, Any]) -> None:
    settings = TrainerSettings(epochs=2, progress_bar=False, **options)
    plain = go(tmp_path / "plain", trainer=settings)
    watched = go(tmp_path / "watched", trainer=settings, monitor=FULL)
    assert torch.equal(weights(plain), weights(watched))
    assert plain.test == watched.test
    states = [
        load_checkpoint(tmp_path / n / "checkpoints" / "last.pt") for n in ("plain", "watched")
    ]
    for name, gradient in states[0]["gradients"]["model"].items():
        assert torch.equal(gradient, states[1]["gradients"]["model"][name])
    assert torch.equal(states[0]["random"]["torch"], states[1]["random"]["torch"])
    assert torch.equal(
        states[0]["random"]["python"]["words"], states[1]["random"]["python"]["words"]
    )
    assert not watched.disabled


def test_nothing_is_left_on_the_model_or_the_optimizer(tmp_path: Path) -> None:
    made: list[torch.optim.Optimizer] = []

    def sgd(params: list[Tensor]) -> torch.optim.Optimizer:
        made.append(torch.optim.SGD(params, lr=0.1))
        return made[0]

    result = go(tmp_path, monitor=FULL, optimizer=partial(sgd))
    for module in result.models["model"].modules():
        for hooks in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks"):
            assert not getattr(module, hooks)
    for parameter in result.models["model"].parameters():
        assert not parameter._post_accumulate_grad_hooks  # type: ignore[attr-defined]
        assert not parameter._backward_hooks
    assert not made[0]._optimizer_step_pre_hooks  # type: ignore[attr-defined]
    assert not made[0]._optimizer_step_post_hooks  # type: ignore[attr-defined]


def test_with_everything_off_no_event_file_is_written(tmp_path: Path) -> None:
    go(tmp_path, monitor=QUIET)
    assert not list(tmp_path.rglob("*tfevents*"))


def test_what_is_not_finite_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sgd = partial(torch.optim.SGD, lr=1e30)
    result = go(tmp_path, monitor=FULL, optimizer=sgd, trainer=GOES_ON)
    assert result.non_finite["loss/total"] == 2
    assert "validation: loss/total" in result.non_finite
    line = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("non-finite"))
    assert "from iteration" in line
    assert read_status(tmp_path / "run.json")["monitoring"]["non_finite"] == dict(result.non_finite)


def test_a_monitor_that_fails_is_told_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def explode(self: object, engine: object) -> None:
        raise ArithmeticError("no such number")

    plain = go(tmp_path / "plain")
    monkeypatch.setattr(LossMonitor, "look", explode)
    result = go(tmp_path / "r", monitor=FULL)
    assert torch.equal(weights(plain), weights(result))
    assert "no such number" in result.disabled["train/LossMonitor"]
    assert "alarm       train/LossMonitor is disabled" in capsys.readouterr().out
    assert "ArithmeticError" in (tmp_path / "r" / "run.log").read_text()


def test_an_event_file_that_cannot_be_made_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trainkit.training.monitoring.EventFileSink", full)
    result = go(tmp_path, monitor=FULL)
    assert result.iterations == 21
    assert any("No space left" in why for why in result.disabled.values())


def test_samples_are_shown_after_each_evaluation_without_disturbing(tmp_path: Path) -> None:
    def draw(model: nn.Module) -> Tensor:
        model.eval()
        return torch.rand(1, 8, 8)

    def tell(model: nn.Module) -> str:
        return f"{torch.rand(1).item() > 2}"

    def broken() -> str:
        raise KeyError("lost")

    samples = {
        "samples/image": partial(draw),
        "samples/text": partial(tell),
        "samples/broken": partial(broken),
    }
    result = go(tmp_path / "a", monitor=FULL, samples=samples)
    found = events(tmp_path / "a", "train")
    assert [image.step for image in found.Images("samples/image")] == [7, 14, 21]
    assert [t.step for t in found.Tensors("samples/text")] == [7, 14, 21]
    assert "lost" in result.disabled["samples/broken"]
    assert torch.equal(weights(result), weights(go(tmp_path / "b")))


@pytest.mark.parametrize("budget", [1e-6, 0.5])
def test_what_monitoring_took_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], budget: float
) -> None:
    result = go(tmp_path, monitor=MonitorSettings(budget=budget))
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("monitoring")]
    assert line.startswith("monitoring  21 of 21 iterations sampled")
    assert result.monitoring is not None
    over = result.monitoring > budget
    assert ("(a whole run gets 50)" in line) == over == ("is for longer runs" in line)
    assert (" of the time (budget " in line) != over
    assert 0 < result.monitoring_seconds < result.seconds


def test_a_softmax_before_cross_entropy_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Softmax(-1))
    go(tmp_path, model=model, monitor=MonitorSettings(every=1))
    assert caplog.text.count("probabilities") == 1
    assert caplog.text.count("leave the softmax out of the model") == 1


def test_a_run_of_which_only_evaluations_are_watched_claims_no_samples(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(y_pred: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(y_pred, y) * float("nan")

    settings = MonitorSettings(**vars(QUIET) | {"metrics": True})
    result = go(tmp_path, monitor=settings, loss=broken, trainer=GOES_ON)
    out = capsys.readouterr().out
    assert "monitoring  no iteration was sampled" in out
    assert result.non_finite == {"loss/total": 1}
    assert "non-finite  loss/total from iteration 1" in out
    assert read_status(tmp_path / "run.json")["monitoring"]["non_finite"] == {"loss/total": 1}


def test_the_budget_is_kept_and_told(tmp_path: Path) -> None:
    result = go(tmp_path, monitor=MonitorSettings(budget=0.5))
    assert result.monitoring is not None
    assert result.monitoring > 0
    assert result.every == 1
    told = json.loads((tmp_path / "run.json").read_text())["monitoring"]
    assert told["samples"] == 21  # a run of fewer than fifty iterations is sampled in all of them
    assert told["budget"] == 0.5


def test_the_row_of_the_run_is_in_a_folder_of_its_own(tmp_path: Path) -> None:
    result = go(tmp_path, monitor=FULL, hparams={"optimizer.lr": 0.1, "model": "mlp"})
    assert len(list((tmp_path / "results").iterdir())) == 1
    found = events(tmp_path, "results")
    plugin = found.SummaryMetadata("_hparams_/session_start_info").plugin_data
    assert b"optimizer.lr" in plugin.content
    assert b"completed" in plugin.content
    for when, values in (
        ("best", result.best["validation"]),
        ("last", result.last["validation"]),
        ("test", result.test),
    ):
        for metric in ("loss", "accuracy"):
            (point,) = found.Scalars(f"results/{when}_{metric}")
            assert point.step == result.iterations
            assert point.value == pytest.approx(values[metric])
    assert "_hparams_/session_start_info" not in events(tmp_path, "train").summary_metadata
