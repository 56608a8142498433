"""Which names are watched, under which tags."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainkit.handlers.parameters.held import Parameters
from trainkit.handlers.parameters.parameter_names import ParameterNames
from trainkit.handlers.parameters.selection import module_groups
from trainkit.handlers.parameters.series import Series
from trainkit.stats import COLUMNS, summary_table


def test_groups_are_as_deep_as_fits() -> None:
    names = [f"layers.{i}.{part}.weight" for i in range(4) for part in ("q", "k")]
    assert len(set(module_groups(names, 8))) == 8
    assert set(module_groups(names, 7)) == {f"layers.{i}" for i in range(4)}
    assert set(module_groups(names, 3)) == {"layers"}
    assert module_groups(["weight"], 1) == ["(model)"]


def test_subsets_of_names_are_the_names_that_are_present() -> None:
    names = ParameterNames(("a", "b", "c"))
    assert names.present([True, True, True]) == names
    assert names.present([True, False, True]) == names.at([0, 2]) == ("a", "c")
    assert names.present([False, False, True]) == names.at([2]) == ("c",)


def test_what_depends_on_names_is_worked_out_once_and_does_not_grow() -> None:
    names, made = ParameterNames(("a", "b")), []

    def make() -> int:
        made.append(1)
        return len(made)

    assert [names.once("key", make) for _ in range(3)] == [1, 1, 1]
    assert names.once("another key", make) == 2
    # Equal names do not share: they may be those of another model.
    assert ParameterNames(("a", "b")).once("key", make) == 3
    kept = [names.once(size, lambda: object()) for size in range(1000)]  # sizes that grow for ever
    alive = [names.once(size, lambda: object()) is found for size, found in enumerate(kept)]
    assert sum(alive[:900]) == 0


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


def test_an_attribute_called_like_a_wrapper_keeps_its_name() -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = nn.Linear(1, 1)

    model = Holder()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for given in (model, nn.DataParallel(model)):
        assert Parameters(given, optimizer).of("").names == ("module.weight", "module.bias")
    part = nn.Sequential(torch.compile(nn.Linear(1, 1), backend="eager"))
    optimizer = torch.optim.SGD(part.parameters(), lr=0.1)
    assert Parameters(part, optimizer).of("").names == ("0.weight", "0.bias")


def test_names_that_would_be_the_same_stay_apart() -> None:
    models = {"a": nn.ModuleDict({"b": nn.Linear(1, 1)}), "a.b": nn.Linear(1, 1)}
    optimizer = torch.optim.SGD([p for m in models.values() for p in m.parameters()], lr=0.1)
    found = Parameters(models, optimizer).of("")
    assert len(set(found.names)) == len(found.tensors) == 4


def test_the_same_object_while_nothing_changed_and_a_change_is_noticed() -> None:
    model, more = nn.Linear(1, 1), nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([{"params": [model.weight], "name": "first"}], lr=0.1)
    parameters = Parameters(model, optimizer)
    assert parameters.of("") is parameters.of("")
    assert [found.names for found in parameters.by_section()] == [("weight", "bias")]
    optimizer.add_param_group({"params": [model.bias, more], "name": "second"})
    assert parameters.of("").names == ("weight", "bias", "second.1")


def test_no_model_and_no_optimizer() -> None:
    sgd = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)
    with pytest.raises(ValueError, match="model must hold at least one Module"):
        Parameters({}, sgd)
    with pytest.raises(ValueError, match="optimizers must hold at least one Optimizer"):
        Parameters(nn.Linear(1, 1), {})
    assert len(Parameters(nn.Linear(1, 1), None).by_section()[0].names) == 2


def pooled(
    series: Series,
    tensors: list[Tensor],
    given: tuple[str, ...],
    sizes: list[int],
    prefix: str = "",
) -> dict[str, float]:
    columns, table = COLUMNS[:-1], summary_table(tensors)[:-1].numpy()
    names = ParameterNames(given)
    values = series.chosen(names, sizes).values(columns, table)
    return dict(zip(series.tags("s", columns, names, prefix), values.tolist(), strict=True))


def test_pooled_statistics_are_those_of_the_module() -> None:
    torch.manual_seed(0)
    tensors = [torch.randn(n) * n + n for n in (3, 50, 7, 1, 20)]
    names = ("a.x", "a.y", "b.x", "b.y", "c.x")
    sizes = [t.numel() for t in tensors]
    found = pooled(Series("module", exclude=["c.*"]), tensors, names, sizes, "net/")
    assert len(found) == 10
    for group, members in (("a", tensors[:2]), ("b", tensors[2:4])):
        whole = torch.cat(members).double()
        for column, expected in {
            "norm": whole.norm(),
            "mean": whole.mean(),
            "std": whole.std(correction=0),
            "max_abs": whole.abs().max(),
            "zero_fraction": (whole == 0).double().mean(),
        }.items():
            value = found[f"tensors.s.{column}/net/{group}"]
            assert value == pytest.approx(expected.item(), rel=1e-6)


def test_several_steps_are_pooled_as_each_of_them_is() -> None:
    torch.manual_seed(0)
    names, sizes = ("a.x", "b.x", "a.y", "b.y"), [3, 7, 50, 1]
    steps = [[torch.randn(n) * n + step for n in sizes] for step in range(3)]
    columns = COLUMNS[:-1]
    tables = np.stack([summary_table(step)[:-1].numpy() for step in steps])
    found = Series("module").chosen(ParameterNames(names), sizes).values(columns, tables)
    assert found.shape == (3, len(columns) * 2)
    for row, tensors in zip(found, steps, strict=True):
        for place, members in enumerate((tensors[::2], tensors[1::2])):
            whole = torch.cat(members).double()
            expected = (
                whole.norm(),
                whole.mean(),
                whole.std(correction=0),
                whole.abs().max(),
                (whole == 0).double().mean(),
            )
            assert row[place::2] == pytest.approx([float(x) for x in expected], rel=1e-5)


def test_a_nan_shows_in_its_module_and_in_no_other() -> None:
    tensors = [torch.tensor([1.0, torch.nan]), torch.ones(2), torch.ones(2)]
    found = pooled(Series("module"), tensors, ("a.x", "a.y", "b.x"), [2, 2, 2])
    for column in ("norm", "mean", "std", "max_abs"):
        assert math.isnan(found[f"tensors.s.{column}/a"])
        assert math.isfinite(found[f"tensors.s.{column}/b"])
