"""What a loss returns to the engines: components that add up, or a clear refusal."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from ignite.engine import Events
from torch import Tensor, nn

from trainkit.engines import supervised_evaluator, supervised_trainer
from trainkit.losses import LossError, Losses

one, two = torch.tensor(1.0), torch.tensor(2.0)


def output(loss_fn: Callable[[Any, Any], Any]) -> dict[str, Any]:
    evaluator = supervised_evaluator(nn.Identity(), loss_fn, device="cpu")
    evaluator.run([(torch.zeros(2, 1), torch.zeros(2, 1))])
    found: dict[str, Any] = evaluator.state.output
    return found


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (two, ["own"]),
        (two.reshape(1), ["own"]),
        ({"a": one, "b": one}, ["a", "b"]),
        ({"a": {"x": one * 0.5, "y": one}, "b": one * 0.5}, ["a/x", "a/y", "b"]),
        ({"a": two.reshape(1)}, ["a"]),
    ],
)
def test_components_add_up(value: Any, names: list[str]) -> None:
    def own(y_pred: Tensor, y: Tensor) -> Any:
        return value

    found = output(own)
    assert list(found["losses"]) == names
    assert found["loss"].item() == sum(part.item() for part in found["losses"].values()) == 2
    assert {part.ndim for part in [found["loss"], *found["losses"].values()]} == {0}


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"a": one, "box": torch.ones(2)}, r"'box' must be one number.*shape \[2\]"),
        (torch.ones(3), r"must be one number.*shape \[3\]"),
        ({"total": one, "x": two}, "not 'total', got 'total'"),
        ({"a": {"x": one}, "a/x": two}, "a name of its own.*got 'a/x'"),
        ({"a": one, "b": 2.0}, "'b' must be a 0-d tensor, got 2.0"),
        ({}, "at least one component, got {}"),
        ({"a": {}}, "at least one component"),
    ],
)
def test_what_does_not_add_up_is_refused(value: Any, why: str) -> None:
    model = nn.Linear(1, 1)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = supervised_trainer(model, sgd, lambda y_pred, y: value, device="cpu")
    with pytest.raises(LossError, match=why):
        trainer.run([(torch.zeros(2, 1), torch.zeros(2, 1))])
    with pytest.raises(LossError, match=why):
        output(lambda y_pred, y: value)


def test_a_component_called_total_is_refused_when_it_is_made() -> None:
    with pytest.raises(ValueError, match="not 'total'"):
        Losses({"total": nn.MSELoss()})


def test_losses_can_say_what_predictions_are() -> None:
    assert Losses({"own": lambda y_pred, y: y_pred.sum()}, predictions="logits").predictions
    with pytest.raises(ValueError, match=r"loss\.predictions must be one of logits.*got 'classes'"):
        Losses({"mse": nn.MSELoss()}, predictions="classes")


class Counting(nn.Module):
    """Weighs classes by how often they came; normalizes; both keep buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.normalize = nn.BatchNorm1d(3)
        self.register_buffer("seen", torch.ones(3))
        self.register_buffer("replaced", torch.ones(3))

    def forward(self, y_pred: Tensor, y: Tensor) -> Tensor:
        self.seen += torch.bincount(y, minlength=3)
        self.replaced = self.replaced + 1
        weight = self.replaced / self.seen
        return nn.functional.cross_entropy(self.normalize(y_pred), y, weight)


def test_an_evaluation_leaves_a_loss_as_it_was() -> None:
    def trained(evaluate: bool) -> list[float]:
        torch.manual_seed(0)
        model, loss_fn = nn.Linear(4, 3), Counting()
        sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        data = [(torch.randn(8, 4), torch.randint(0, 3, (8,))) for _ in range(3)]
        trainer = supervised_trainer(model, sgd, loss_fn, device="cpu")
        evaluator = supervised_evaluator(model, loss_fn, device="cpu")
        if evaluate:
            trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: evaluator.run(data))
        trainer.run(data, max_epochs=3)
        assert loss_fn.training
        assert loss_fn.normalize.training
        return [*model.bias.tolist(), *loss_fn.seen.tolist(), *loss_fn.replaced.tolist()]

    assert trained(evaluate=True) == trained(evaluate=False)


def test_a_loss_is_evaluated_in_evaluation_mode() -> None:
    class Dropping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def forward(self, y_pred: Tensor, y: Tensor) -> Tensor:
            return self.drop(y_pred).sum()

    loss_fn = Dropping()
    evaluator = supervised_evaluator(nn.Identity(), loss_fn, device="cpu")
    evaluator.run([(torch.ones(8, 1), torch.zeros(8, 1))])
    assert evaluator.state.output["loss"] == 8
    assert loss_fn.drop.training
