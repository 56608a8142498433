"""A loss that is not finite is told when it happens."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn

from tests.training.parts import FULL, QUIET, go, network
from trainkit.rundir import load_checkpoint, read_status
from trainkit.settings import TrainerSettings
from trainkit.training import NonFiniteLossError
from trainkit.training.finite import LossWatch


class Breaks(nn.Module):
    """A model whose output is NaN in some training iterations, from 1 on."""

    def __init__(self, *at: int) -> None:
        super().__init__()
        self.inner, self.at, self.calls = network(), at, 0

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(x)
        if self.training:
            self.calls += 1
            if self.calls in self.at:
                y = y * float("nan")
        return y


def go_badly(directory: Path, *at: int, **changes: Any) -> Any:
    given = {"on_non_finite": "warn"} | changes.pop("settings", {})
    settings = TrainerSettings(epochs=3, evaluate_train=False, **given)
    return go(directory, model=Breaks(*at), trainer=settings, **changes)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]


@pytest.mark.parametrize("monitor", [QUIET, FULL])
def test_it_is_told_once_with_and_without_monitors(
    tmp_path: Path,
    monitor: Any,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    result = go_badly(tmp_path, 10, monitor=monitor)
    out = capsys.readouterr().out
    (line,) = warnings_of(caplog)
    assert line.startswith("loss/total (from loss/cross_entropy) is nan at iteration 10: look at")
    assert "learning rate" in line, "and what to look at"
    assert "is nan at iteration 10" in (tmp_path / "run.log").read_text()
    assert "alarm       the loss was not finite at iteration 10 and at the end" in out
    assert result.status == "completed"
    assert "not finite since iteration 10" in read_status(tmp_path / "run.json")["reason"]
    assert out.index("alarm ") < out.index("ended ")


def test_stop_ends_the_run_as_failed_and_keeps_the_good_state(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(NonFiniteLossError, match="is nan at iteration 10"):
        go_badly(tmp_path, 10, settings={"on_non_finite": "stop"})
    status = read_status(tmp_path / "run.json")
    assert status["status"] == "failed"
    assert "NonFiniteLossError" in status["reason"]
    assert status["iteration"] == 10
    last = load_checkpoint(tmp_path / "checkpoints" / "last.pt")
    assert last["iteration"] == 7, "weights of NaN replace no good ones"
    assert "saved       checkpoints/: best.pt (iteration 7), last.pt (iteration 7)" in (
        capsys.readouterr().out
    )


def test_before_the_first_evaluation_the_state_of_the_beginning_is_kept(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLossError):
        go_badly(tmp_path, 3, settings={"on_non_finite": "stop"})
    assert load_checkpoint(tmp_path / "checkpoints" / "last.pt")["iteration"] == 0


def test_other_values_of_the_switch() -> None:
    with pytest.raises(ValueError, match=r"trainer\.on_non_finite must be one of weights"):
        TrainerSettings(on_non_finite="ignore")


def test_weights_that_run_away_are_told_by_the_losss_own_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    settings = TrainerSettings(epochs=3, progress_bar=False, on_non_finite="warn")
    sgd = partial(torch.optim.SGD, lr=1e30)
    go(tmp_path, monitor=FULL, optimizer=sgd, trainer=settings)
    out = capsys.readouterr().out
    warned = warnings_of(caplog)
    assert len(warned) in (1, 2)
    assert any(line.startswith("loss/") for line in warned)
    line = next(x for x in out.splitlines() if x.startswith("non-finite"))
    assert line.split()[1].startswith("loss/")


def test_on_a_device_nothing_is_read_before_the_evaluation(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A device that holds no numbers stands for one that must not be asked."""
    watch = LossWatch()
    engine = Engine(lambda _, loss: {"loss": loss})
    engine.add_event_handler(Events.ITERATION_COMPLETED, watch.look)
    losses = [torch.tensor(1.0, device="meta") for _ in range(1200)]
    engine.run(losses)  # whoever reads one of these gets an exception
    assert watch.first is None
    assert not caplog.records


@pytest.mark.parametrize("bad", [1, 512, 513, 700, 1200])
def test_on_a_device_the_iteration_is_the_right_one(
    bad: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("trainkit.training.finite.loss_in_sight", lambda output: None)
    watch = LossWatch()
    engine = Engine(lambda _, i: {"loss": torch.tensor(float("inf") if i == bad else 1.0)})
    engine.add_event_handler(Events.ITERATION_COMPLETED, watch.look)
    engine.add_event_handler(
        Events.ITERATION_COMPLETED(every=600), lambda e: watch.look_at_device(e.state.iteration)
    )
    engine.run(range(1, 1201))
    assert watch.first == bad
    assert watch.ends_finite == (bad != 1200)
    assert len(caplog.records) == 1


def test_with_a_loss_scaler_gradients_may_be_infinite(caplog: pytest.LogCaptureFixture) -> None:
    watch = LossWatch(scaled=True)
    watch.hear(1, ["gradients/non_finite", "gradients/global_norm"])
    assert not caplog.records
    watch.hear(2, ["weights/global_norm"])
    assert "weights/global_norm is not finite at iteration 2" in caplog.text
