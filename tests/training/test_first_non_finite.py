"""A run whose values stop to be finite: what it says, keeps, and from what it can be made again."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.training.parts import blobs, go, parts
from trainkit.rundir import load_checkpoint, read_status, seed_everything
from trainkit.settings import CheckpointSettings, TrainerSettings
from trainkit.training import NonFiniteLossError
from trainkit.training.build import build
from trainkit.training.bundle import read_bundle
from trainkit.training.repeat import repeated_step


class Breaking(nn.Module):
    """Divides by zero, for one sample, in one training iteration; draws random numbers."""

    def __init__(self, at: int, where: str = "forward") -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.2))
        self.middle, self.last = nn.Identity(), nn.Linear(8, 3)
        self.at, self.where = at, where
        self.middle.register_forward_hook(self._break)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.calls += 1
        y: Tensor = self.last(self.middle(self.first(x)))
        return y

    def _break(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        if not self.training or int(self.calls) != self.at:
            return output
        ones = torch.ones_like(output)
        ones[1] = 0
        if self.where == "forward":
            return output / ones
        return output + (output * 0 * (1 - ones)).abs().sqrt() * 0


KINDS: dict[str, dict[str, Any]] = {
    "fp32": {},
    "bf16": {"amp": "bf16"},
    "fp16": {"amp": "fp16"},
    "accumulation": {"accumulation_steps": 3},
}


def settings(**changes: Any) -> TrainerSettings:
    return TrainerSettings(epochs=4, progress_bar=False, device="cpu", **changes)


@pytest.mark.parametrize("at", [1, 10])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_named_kept_and_made_again(tmp_path: Path, kind: str, at: int) -> None:
    changes = {"model": partial(Breaking, at), "trainer": settings(**KINDS[kind])}
    expected = pytest.raises(NonFiniteLossError)
    if kind == "fp16":  # the scaler skips the step: the weights stay finite
        go(tmp_path, **changes)
    else:
        with expected:
            go(tmp_path, **changes)
    status = read_status(tmp_path / "run.json")
    found = status["first_non_finite"]
    assert (found["iteration"], found["first"]["place"]) == (at, "middle")
    assert (found["first"]["phase"], found["first"]["rows"]) == ("forward", [1])
    assert status["status"] == ("completed" if kind == "fp16" else "failed")
    report = (tmp_path / "non_finite" / "report.txt").read_text()
    assert "forward   middle (Identity)" in report

    bundle = read_bundle(tmp_path / "non_finite" / "bundle.pt")
    built = rebuilt(changes)
    bits, again = repeated_step(built, bundle)
    assert bits == bundle.report["loss"] == again.loss != ""
    assert again.first is not None
    assert (again.first.place, again.first.rows) == ("middle", (1,))
    # By definition: this batch, these weights, this random state.
    x, _ = bundle.batch
    order = blobs().train.order((at - 1) // 7)
    rows = order[(at - 1) % 7 * 16 : ((at - 1) % 7 + 1) * 16]
    assert torch.equal(x, blobs().train.tensors[0][rows])


def rebuilt(changes: dict[str, Any]) -> Any:
    given = parts(**changes)
    seed_everything(0)
    return build(
        model=given["model"], data=given["data"], loss=given["loss"],
        optimizer=given["optimizer"], scheduler=None, metrics=given["metrics"], engine=None,
        samples=None, settings=given["trainer"], device=torch.device("cpu"),
    )  # fmt: skip


def test_a_gradient_is_found_where_the_loss_is_finite(tmp_path: Path) -> None:
    """The loss is finite in iteration 5; its gradient is not, and the loss of iteration 6."""
    with pytest.raises(NonFiniteLossError, match="iteration 6, and nothing recovers"):
        go(tmp_path, model=partial(Breaking, 5, "backward"), trainer=settings())
    found = read_status(tmp_path / "run.json")["first_non_finite"]
    assert (found["iteration"], found["first"]["phase"]) == (5, "backward")
    assert found["first"]["place"] == "middle"
    last = load_checkpoint(tmp_path / "checkpoints" / "last.pt")
    assert all(bool(v.isfinite().all()) for v in last["models"]["model"].values())


def test_skip_leaves_the_step_out(tmp_path: Path) -> None:
    at = 5
    result = go(tmp_path, model=partial(Breaking, at), trainer=settings(on_non_finite="skip"))
    assert result.status == "completed"
    weights = list(result.models["model"].parameters())
    assert all(bool(p.isfinite().all()) for p in weights)
    assert any("loss was not finite at iteration 5" in alarm for alarm in result.alarms)
    assert any("NaN in middle" in alarm for alarm in result.alarms)
    assert math.isfinite(result.last["validation"]["loss"])


def test_warn_goes_on_and_the_state_from_before_is_kept(tmp_path: Path) -> None:
    trainer = settings(on_non_finite="warn")
    result = go(tmp_path, model=partial(Breaking, 10), trainer=trainer)
    assert (result.status, result.iterations) == ("completed", 28)
    before = load_checkpoint(tmp_path / "checkpoints" / "before_non_finite.pt")
    assert before["iteration"] == 7
    assert any("first non-finite value: iteration 10" in alarm for alarm in result.alarms)
    assert all(bool(p.isnan().any()) for p in result.models["model"].last.parameters())


def test_without_a_checkpoint_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLossError):
        go(tmp_path, model=partial(Breaking, 3), trainer=settings(),
           checkpoint=CheckpointSettings(last=False, best=False))  # fmt: skip
    assert not (tmp_path / "non_finite").exists()


def test_a_value_that_does_not_come_again_is_said(tmp_path: Path) -> None:
    """A fault of the outside world, as a cosmic ray: the step is finite when it is repeated."""
    calls = 0

    class Once(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            nonlocal calls
            calls += self.training
            return super().forward(x) * (math.nan if self.training and calls == 4 else 1.0)

    with pytest.raises(NonFiniteLossError):
        go(tmp_path, model=Once(4, 3), trainer=settings())
    assert "first_non_finite" not in read_status(tmp_path / "run.json")
