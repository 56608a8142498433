import pytest
import torch
from torch import nn

from trainkit.optimizers import parameter_groups


@pytest.fixture
def model() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 1))


def names_in(model: nn.Module, groups: list[dict[str, object]]) -> dict[str, list[str]]:
    name_of = {id(p): name for name, p in model.named_parameters()}
    return {str(g["name"]): [name_of[id(p)] for p in g["params"]] for g in groups}  # type: ignore[attr-defined]


def test_first_matching_group_wins_and_the_rest_is_the_default(model: nn.Module) -> None:
    groups = parameter_groups(
        model,
        {
            "head": {"parameters": ["2.*"], "lr": 0.5},
            "no_decay": {"parameters": ["*.bias", "1.*"], "weight_decay": 0.0},
        },
    )
    assert names_in(model, groups) == {
        "head": ["2.weight", "2.bias"],
        "no_decay": ["0.bias", "1.weight", "1.bias"],
        "default": ["0.weight"],
    }
    sgd = torch.optim.SGD(groups, lr=0.1, weight_decay=0.3)
    assert [g["lr"] for g in sgd.param_groups] == [0.5, 0.1, 0.1]
    assert [g["weight_decay"] for g in sgd.param_groups] == [0.3, 0.0, 0.3]


def test_frozen_parameters_and_empty_groups_are_left_out(model: nn.Module) -> None:
    model[0].requires_grad_(False)  # type: ignore[index]
    groups = parameter_groups(model, {"stem": {"parameters": ["0.*"], "lr": 1.0}})
    assert list(names_in(model, groups)) == ["default"]


def test_include_splits_a_model_between_optimizers(model: nn.Module) -> None:
    groups = parameter_groups(model, {}, include=["2.*"])
    assert names_in(model, groups) == {"default": ["2.weight", "2.bias"]}


@pytest.mark.parametrize(
    ("groups", "error", "message"),
    [
        ({"a": {"parameters": ["0.wieght"]}}, ValueError, "nearest: 0.weight"),
        ({"a": {"parameters": ["0.weight", 1]}}, TypeError, "must hold patterns of names, got 1"),
        ({"a": {"lr": 1.0}}, ValueError, "groups.a.parameters"),
        ({"a": ["0.weight"]}, TypeError, "groups.a"),
        ({"default": {"parameters": ["*"]}}, ValueError, "default"),
        ({"a": {"parameters": ["*"], "name": "b"}}, ValueError, "groups.a.name"),
    ],
)
def test_refuses(
    model: nn.Module, groups: dict[str, dict[str, object]], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        parameter_groups(model, groups)


def test_nothing_to_train(model: nn.Module) -> None:
    with pytest.raises(ValueError, match="frozen"):
        parameter_groups(model.requires_grad_(False), {})


def test_few_dimensions_are_biases_and_norms_whatever_their_names(model: nn.Module) -> None:
    groups = parameter_groups(model, {"no_decay": {"max_dimensions": 1, "weight_decay": 0.0}})
    assert names_in(model, groups) == {
        "no_decay": ["0.bias", "1.weight", "1.bias", "2.bias"],
        "default": ["0.weight", "2.weight"],
    }
    both = {"head": {"parameters": ["2.*"], "max_dimensions": 1, "lr": 0.5}}
    assert names_in(model, parameter_groups(model, both))["head"] == ["2.bias"]
    with pytest.raises(ValueError, match="max_dimensions must be 0 or more, got -1"):
        parameter_groups(model, {"a": {"max_dimensions": -1}})
