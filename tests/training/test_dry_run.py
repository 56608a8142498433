"""Mistakes that would train without a word are seen on one batch, before anything is written."""

import logging
import re
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.training.parts import blobs, cases, go, network, weights
from trainkit.data import Batches, Data
from trainkit.losses import Losses
from trainkit.settings import TrainerSettings
from trainkit.training.build import build
from trainkit.training.dry_run import rehearse


def numbers(shape: tuple[int, ...]) -> Data:
    x, _ = cases(64, 1)
    y = x[:, :1].reshape(shape)
    return Data(Batches(x, y, batch_size=16), Batches(x, y, batch_size=16))


def decisions(shape: tuple[int, ...] = (64, 1)) -> Data:
    x, _ = cases(64, 1)
    y = (x[:, :1] > 0).float().reshape(shape)
    return Data(Batches(x, y, batch_size=16), Batches(x, y, batch_size=16))


def classes() -> Data:
    x, _ = cases(64, 1)
    y = torch.zeros(64, dtype=torch.long)
    return Data(Batches(x, y, batch_size=16), Batches(x, y, batch_size=16))


def ended_by(*last: nn.Module, outputs: int = 3) -> Callable[[], nn.Module]:
    return partial(_ended_by, last, outputs)


def _ended_by(last: tuple[nn.Module, ...], outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, outputs), *last)


def difference(y_pred: Tensor, y: Tensor) -> Tensor:
    return (y_pred - y).square().mean()


def built_in(y_pred: Tensor, y: Tensor) -> Tensor:
    return F.mse_loss(y_pred, y)


def squeezed(y_pred: Tensor, y: Tensor) -> Tensor:
    return (y_pred.squeeze(1) - y).square().mean()


def whole(loss: Any) -> Any:
    return partial(Losses, {"part": {"loss": loss}})


CE, NLL, MSE = nn.CrossEntropyLoss(), nn.NLLLoss(), nn.MSELoss()
BINARY = nn.BCEWithLogitsLoss()
SOFTMAX, LOG_SOFTMAX, SIGMOID = nn.Softmax(1), nn.LogSoftmax(1), nn.Sigmoid()


@pytest.mark.parametrize(
    ("model", "loss", "data", "message"),
    [
        (ended_by(), whole(NLL), blobs(), r"loss.components.part: NLL takes log-prob.*are no log"),
        (ended_by(), NLL, blobs(), r"^loss: NLL takes log-probabilities"),
        (ended_by(SOFTMAX), whole(NLL), blobs(), "NLL takes log-prob.*outputs are probabilities"),
        (ended_by(), partial(F.nll_loss), blobs(), "NLL takes log-probabilities"),
        (ended_by(outputs=1), whole(CE), classes(), "for each class, got one"),
        (ended_by(outputs=1), CE, classes(), r"^loss: cross entropy .*got one \(\[16, 1\]\)"),
        (
            ended_by(nn.Flatten(0), outputs=1),
            CE,
            decisions((64,)),
            r"got y_pred \[16\]: it would take the batch for classes",
        ),
        (
            ended_by(outputs=1),
            MSE,
            numbers((64,)),
            r"loss: y_pred \[16, 1\] with y \[16\] would be broadcast to \[16, 16\]",
        ),
        (ended_by(nn.Flatten(0), outputs=1), nn.L1Loss(), numbers((64, 1)), r"broadcast to \[16, "),
    ],
)
def test_what_cannot_be_meant_is_refused(
    model: Any, loss: Any, data: Data, message: str, tmp_path: Path
) -> None:
    warnings.simplefilter("ignore")  # PyTorch's own, of the broadcast
    with pytest.raises(ValueError, match=message) as caught:
        go(tmp_path / "r", model=partial(model), loss=loss, data=data, metrics=None)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("model", "loss", "data", "message"),
    [
        (ended_by(SOFTMAX), whole(CE), blobs(), "cross entropy takes logits, and the model's outp"),
        (ended_by(SIGMOID, outputs=1), whole(BINARY), decisions(), "bce_with_logits takes logits"),
        (ended_by(outputs=1), difference, numbers((64,)), r"a difference of \[16, 1\] and \[16\]"),
        (ended_by(outputs=1), built_in, numbers((64,)), r"a difference of \[16, 1\] and \[1, 16\]"),
    ],
)
def test_what_may_be_meant_is_said_in_one_line(
    model: Any, loss: Any, data: Data, message: str, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    warnings.simplefilter("ignore")
    with caplog.at_level(logging.WARNING):
        go(tmp_path / "r", model=partial(model), loss=loss, data=data, metrics=None)
    lines = [r.getMessage() for r in caplog.records if re.search(message, r.getMessage())]
    assert len(lines) == 1, caplog.text
    assert lines[0] in (tmp_path / "r" / "run.log").read_text()


@pytest.mark.parametrize(
    ("model", "loss", "data"),
    [
        (ended_by(), whole(CE), blobs()),
        (ended_by(LOG_SOFTMAX), whole(NLL), blobs()),
        (ended_by(LOG_SOFTMAX), CE, blobs()),  # the same as without
        (ended_by(outputs=1), whole(BINARY), decisions()),
        (ended_by(SIGMOID, outputs=1), whole(nn.BCELoss()), decisions()),
        (ended_by(outputs=1), whole(MSE), numbers((64,))),  # `Losses` reshapes
        (ended_by(outputs=1), MSE, numbers((64, 1))),
        (ended_by(outputs=1), squeezed, numbers((64,))),
        (ended_by(nn.ReLU(), outputs=1), BINARY, decisions()),
    ],
)
def test_what_is_right_is_passed_over(model: Any, loss: Any, data: Data) -> None:
    torch.manual_seed(1)
    assert rehearsed(model(), loss, data) == []


def rehearsed(model: nn.Module, loss: Any, data: Data, **more: Any) -> list[str]:
    built = build(
        model=model, data=data, loss=loss, optimizer=partial(torch.optim.SGD, lr=0.1),
        scheduler=None, metrics=None, engine=None, samples=None, settings=TrainerSettings(),
        device=torch.device("cpu"), **more,
    )  # fmt: skip
    return rehearse(built)


def test_a_loss_that_raises_is_blamed_and_not_the_model(tmp_path: Path) -> None:
    def broken(y_pred: Tensor, y: Tensor) -> Tensor:
        return (y_pred @ y.float()).mean()

    with pytest.raises(
        ValueError,
        match=r"loss: broken cannot take y_pred float32 \[16, 3\] with y int64 \[16\]: RuntimeErr",
    ):
        go(tmp_path / "r", loss=broken, metrics=None)


@pytest.mark.parametrize("made", ["0.5", CE])
def test_a_loss_that_makes_no_number(made: Any, tmp_path: Path) -> None:
    with pytest.raises((TypeError, ValueError), match=r"loss.* must be a 0-d tensor, got"):
        go(tmp_path / "r", loss=lambda y_pred, y: made, metrics=None)
    assert not (tmp_path / "r").exists()


def test_a_loss_of_several_numbers(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^loss must return one number .*, got float32 \[16\]"):
        go(tmp_path / "r", loss=lambda y_pred, y: y_pred.sum(1), metrics=None)


class Counting(nn.Module):
    """A loss that keeps state and draws random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("replaced", torch.zeros(()))
        self.calls: Tensor
        self.replaced: Tensor

    def forward(self, y_pred: Tensor, y: Tensor) -> Tensor:
        self.calls += 1
        self.replaced = self.replaced + 1
        return F.cross_entropy(y_pred + 0.1 * torch.randn_like(y_pred), y)


def test_it_leaves_no_trace_and_takes_no_time() -> None:
    torch.manual_seed(3)
    model, loss = network(), Counting()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    begun = perf_counter()
    assert rehearsed(model, loss, blobs()) == []
    assert perf_counter() - begun < 1
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()
    assert (float(loss.calls), float(loss.replaced)) == (0, 0)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert model.training


def test_a_run_is_the_same_to_the_bit_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_it = go(tmp_path / "with")
    monkeypatch.setattr(sys.modules["trainkit.training.run"], "rehearse", lambda *_: [])
    assert torch.equal(weights(go(tmp_path / "without")), weights(with_it))


def test_an_optimizer_of_another_model(tmp_path: Path) -> None:
    other = torch.optim.SGD(network().parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"optimizer holds 6 parameters, and none of them is one "):
        go(tmp_path / "r", optimizer=other)
    assert not (tmp_path / "r").exists()


def test_parameters_in_no_optimizer_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = network()
    with caplog.at_level(logging.WARNING):
        go(
            tmp_path / "a",
            model=model,
            optimizer=torch.optim.SGD(list(model.parameters())[:4], lr=0.1),
        )
    (line,) = [r.getMessage() for r in caplog.records if "no optimizer" in r.getMessage()]
    assert line.startswith(
        "2 of 6 trainable parameters are in no optimizer and will not learn: 4.w"
    )
    caplog.clear()
    model[4].requires_grad_(False)
    go(tmp_path / "b", model=model)
    assert "no optimizer" not in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": torch.optim.SGD}, r"optimizer .*SGD.*partial"),
        ({"model": network}, r"model .*network.*partial"),
        ({"data": blobs}, r"data .*blobs.*partial"),
        ({"scheduler": torch.optim.lr_scheduler.StepLR}, r"scheduler.*StepLR.*partial"),
        (
            {"metrics": {"a": __import__("ignite").metrics.Accuracy}},
            r"metrics.a .*Accurac.*partial",
        ),
        ({"loss": nn.CrossEntropyLoss}, r"loss .*CrossEntropyLoss.*partial"),
    ],
)
def test_a_forgotten_partial(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=message):
        go(tmp_path / "r", **changes)
