from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trainkit.losses import L1, L2, EntropyBonus, LossError, Losses


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(3)
    return torch.randn(6, 4, requires_grad=True), torch.tensor([0, 1, 2, 3, 0, 1])


def test_contributions_are_weighted_and_add_up(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    y_pred, y = batch
    model = nn.Linear(3, 2)
    losses = Losses(
        {
            "cross_entropy": {"loss": nn.CrossEntropyLoss(label_smoothing=0.1)},
            "entropy": {"weight": 0.3, "loss": EntropyBonus()},
            "l2": {"weight": 1e-2, "loss": partial(L2, parameters=["weight"])},
            "l1": {"weight": 1e-3, "loss": partial(L1)},
        },
        model=model,
    )
    found = losses(y_pred, y)
    p = y_pred.double().softmax(1)
    assert list(found) == ["cross_entropy", "entropy", "l2", "l1"]
    torch.testing.assert_close(
        found["cross_entropy"], F.cross_entropy(y_pred, y, label_smoothing=0.1)
    )
    torch.testing.assert_close(
        found["entropy"].double(), 0.3 * (p * p.log()).sum(1).mean(), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(found["l2"], 1e-2 * (model.weight**2).sum())
    everything = torch.cat([model.weight.flatten(), model.bias])
    torch.testing.assert_close(found["l1"], 1e-3 * everything.abs().sum())


def test_weight_zero_is_left_out_and_not_called() -> None:
    def explode(y_pred: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        raise AssertionError

    losses = Losses({"mse": nn.MSELoss(), "off": {"weight": 0, "loss": explode}})
    assert list(losses(torch.ones(2), torch.zeros(2))) == ["mse"]
    assert list(losses.components) == ["mse"]


@pytest.mark.parametrize(
    ("components", "error", "message"),
    [
        ({}, ValueError, "at least one component"),
        ({"a": {"weight": 0.0, "loss": nn.MSELoss()}}, ValueError, "at least one component"),
        ({"a": {"weight": float("nan"), "loss": nn.MSELoss()}}, ValueError, "finite"),
        ({"a": {"weight": "1", "loss": nn.MSELoss()}}, TypeError, "must be a number"),
        ({"a": {"wight": 1, "loss": nn.MSELoss()}}, TypeError, "wight"),
        ({"a": {"weight": 1}}, TypeError, "weight"),
        ({"a": 3}, TypeError, "callable"),
        ({"": nn.MSELoss()}, ValueError, "not empty"),
        ({"total": nn.MSELoss()}, ValueError, "total"),
        ({"a/b": nn.MSELoss()}, ValueError, "slash"),
        ({"l2": {"loss": partial(L2)}}, TypeError, "waits for a model"),
        ([nn.MSELoss()], TypeError, "map names"),
    ],
)
def test_refuses(components: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Losses(components)  # type: ignore[arg-type]


def test_class_weights_move_with_the_losses() -> None:
    losses = Losses({"ce": nn.CrossEntropyLoss(weight=torch.ones(3))}).to(torch.float64)
    assert losses.components["ce"].weight.dtype == torch.float64  # type: ignore[union-attr]


def test_a_model_in_a_penalty_is_no_part_of_the_loss() -> None:
    assert not list(Losses({"l2": partial(L2)}, model=nn.Linear(2, 2)).parameters())


@pytest.mark.parametrize(
    ("loss", "y_pred", "y", "message"),
    [
        (nn.MSELoss(), torch.zeros(4, 1), torch.zeros(4, 2), r"\[4, 1\], got \[4, 2\]"),
        (nn.MSELoss(), torch.zeros(4, 4), torch.zeros(4), r"shape of the predictions"),
        (nn.CrossEntropyLoss(), torch.zeros(4, 3), torch.zeros(4), "class indices"),
        (nn.CrossEntropyLoss(), torch.zeros(4, 3), torch.tensor([0, 1, 2, 3]), "out of bounds"),
        (nn.BCELoss(), torch.full((4,), 2.0), torch.ones(4), "bce_with_logits"),
        (nn.MSELoss(reduction="none"), torch.zeros(4), torch.zeros(4), "0-d"),
        (nn.NLLLoss(), torch.zeros(4, 3), torch.zeros(5, dtype=torch.int64), r"got \[5\]"),
    ],
)
def test_mismatch_names_the_component_and_both_shapes(
    loss: nn.Module, y_pred: torch.Tensor, y: torch.Tensor, message: str
) -> None:
    with pytest.raises(LossError, match=message) as caught:
        Losses({"part": loss})(y_pred, y)
    assert "'part'" in str(caught.value)


def test_running_out_of_memory_is_no_mismatch() -> None:
    def greedy(y_pred: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("full")

    with pytest.raises(torch.OutOfMemoryError):
        Losses({"greedy": greedy})(torch.zeros(1), torch.zeros(1))


@pytest.mark.parametrize("loss", [nn.MSELoss(), nn.L1Loss(), nn.SmoothL1Loss(), F.mse_loss])
def test_regression_target_is_not_broadcast(loss: nn.Module) -> None:
    y_pred, y = torch.randn(5, 1), torch.randn(5)
    found = Losses({"a": loss})(y_pred, y)["a"]
    torch.testing.assert_close(found, loss(y_pred.squeeze(1), y))


def test_binary_target_becomes_floating_point_in_the_right_shape() -> None:
    y_pred, y = torch.randn(5, 1), torch.tensor([0, 1, 1, 0, 1])
    found = Losses({"a": nn.BCEWithLogitsLoss()})(y_pred, y)["a"]
    torch.testing.assert_close(found, F.binary_cross_entropy_with_logits(y_pred[:, 0], y.float()))


def test_class_indices_of_any_integer_type_and_class_probabilities() -> None:
    y_pred = torch.randn(5, 3)
    y = torch.tensor([0, 1, 2, 0, 1])
    losses = Losses({"a": nn.CrossEntropyLoss()})
    for target in (y, y.to(torch.uint8), y.to(torch.int32), y[:, None]):
        torch.testing.assert_close(losses(y_pred, target)["a"], F.cross_entropy(y_pred, y))
    soft = torch.rand(5, 3).softmax(1)
    torch.testing.assert_close(losses(y_pred, soft)["a"], F.cross_entropy(y_pred, soft))
    segmentation = torch.randn(2, 3, 4, 4)
    indices = torch.randint(3, (2, 1, 4, 4))
    torch.testing.assert_close(
        losses(segmentation, indices)["a"], F.cross_entropy(segmentation, indices[:, 0])
    )


def test_penalty_counts_tied_parameters_once_and_no_frozen_ones() -> None:
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    model[2].requires_grad_(False)
    torch.testing.assert_close(L2(model)(), (model[0].weight ** 2).sum())
    with pytest.raises(ValueError, match="leaves none"):
        L2(model, parameters=["2.*"])
    with pytest.raises(ValueError, match=r"nearest: 0\.weight"):
        L2(model, parameters=["0.wieght"])


def test_penalty_over_several_models() -> None:
    models = {"a": nn.Linear(1, 1), "b": nn.Linear(1, 1)}
    torch.testing.assert_close(
        L1(models, parameters=["b.*"])(),
        models["b"].weight.abs().sum() + models["b"].bias.abs().sum(),
    )


@pytest.mark.parametrize("kind", ["logits", "log_probabilities", "probabilities"])
def test_entropy_bonus_of_certain_predictions_is_zero_with_a_finite_gradient(kind: str) -> None:
    rows = {
        "logits": [[1e4, -1e4, 0.0]],
        "log_probabilities": [[0.0, -float("inf"), -float("inf")]],
        "probabilities": [[1.0, 0.0, 0.0]],
    }
    y_pred = torch.tensor(rows[kind], requires_grad=True)
    value = EntropyBonus(kind)(y_pred)
    value.backward()
    assert value.item() == 0
    assert y_pred.grad is not None
    assert y_pred.grad.isfinite().all()


def test_entropy_bonus_of_binary_predictions() -> None:
    logits = torch.tensor([[-2.0], [0.5]])
    p = logits.sigmoid().double()
    expected = (p * p.log() + (1 - p) * (1 - p).log()).mean()
    for kind, y_pred in (("binary_logits", logits), ("binary_probabilities", logits.sigmoid())):
        torch.testing.assert_close(EntropyBonus(kind)(y_pred).double(), expected, atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="binary_logits"):
        EntropyBonus("logits")(torch.zeros(3))
