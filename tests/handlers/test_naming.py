"""Which names are watched, under which tags."""

import pytest
import torch
from torch import nn

from trainkit.handlers.naming import module_groups, selected
from trainkit.handlers.parameters import Parameters
from trainkit.handlers.series import Series


def test_selection() -> None:
    names = ["a.weight", "a.bias", "b.weight"]
    assert selected(names) == names
    assert selected(names, ["b.*", "a.bias"]) == ["a.bias", "b.weight"]
    assert selected(names, ["*"], ["*.bias"]) == ["a.weight", "b.weight"]
    with pytest.raises(TypeError, match=r"write \['\*.weight'\]"):
        selected(names, "*.weight")


def test_groups_are_as_deep_as_fits() -> None:
    names = [f"layers.{i}.{part}.weight" for i in range(4) for part in ("q", "k")]
    assert len(set(module_groups(names, 8))) == 8
    assert set(module_groups(names, 7)) == {f"layers.{i}" for i in range(4)}
    assert set(module_groups(names, 3)) == {"layers"}
    assert module_groups(["weight"], 1) == ["(model)"]


def test_every_parameter_once_under_its_first_name() -> None:
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    model["b"].weight = model["a"].weight
    alone = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([*model["a"].parameters(), alone], lr=0.1)
    parameters = Parameters(model, optimizer)
    assert parameters.of("").names == ("a.weight", "a.bias", "0.2")
    (everything,) = parameters.by_section()
    assert everything.names == ("a.weight", "a.bias", "0.2", "b.bias")


def test_several_models_and_optimizers() -> None:
    models = {"g": nn.Linear(1, 1), "d": nn.Linear(1, 1), "frozen": nn.Linear(1, 1)}
    optimizers = {name: torch.optim.SGD(models[name].parameters(), lr=0.1) for name in "gd"}
    found = {(n.section, n.names) for n in Parameters(models, optimizers).by_section()}
    assert found == {
        ("g/", ("weight", "bias")),
        ("d/", ("weight", "bias")),
        ("", ("frozen.weight", "frozen.bias")),
    }


def test_wrappers_leave_no_trace_in_names() -> None:
    model = nn.Linear(1, 1)
    wrapped = torch.compile(nn.DataParallel(model), backend="eager")
    optimizer = torch.optim.SGD(wrapped.parameters(), lr=0.1)
    assert Parameters(wrapped, optimizer).of("").names == ("weight", "bias")


def test_what_is_no_model_or_optimizer() -> None:
    sgd = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
    with pytest.raises(TypeError, match="model must be one Module or a mapping"):
        Parameters([nn.Linear(1, 1)], sgd)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="optimizers must be one Optimizer"):
        Parameters(nn.Linear(1, 1), [sgd])  # type: ignore[arg-type]


def test_a_series_that_is_asked_again_has_the_very_same_tags() -> None:
    series, columns = Series(), {"norm": torch.ones(2)}
    first, second = (series.scalars("s", columns, ("a", "b"), [1, 1]) for _ in range(2))
    assert first.tags is second.tags
    assert first.tags == ("s.norm/a", "s.norm/b")
