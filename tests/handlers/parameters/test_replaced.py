"""Parameters that come, go and are replaced while a model is watched."""

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from trainkit import GradientMonitor, MemoryWriter, UpdateMonitor, WeightMonitor
from trainkit.handlers.sampling.sampler import Sampler


def watched(
    model: nn.Module, optimizer: Any, change: Callable[[], Any], at: int = 2, iterations: int = 3
) -> MemoryWriter:
    """Change the model in the process function of iteration `at`."""

    def step(engine: Engine, batch: Any) -> None:
        if engine.state.iteration == at:
            change()
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.grad = torch.ones_like(p) if p.requires_grad else None
        optimizer.step()

    writer, engine, sampler = MemoryWriter(), Engine(step), Sampler(1)
    monitors = [
        kind(writer, sampler, model=model, optimizers=optimizer)
        for kind in (GradientMonitor, WeightMonitor, UpdateMonitor)
    ]
    for monitor in monitors:
        monitor.attach(engine)
    engine.run([0] * iterations)
    assert all(monitor.guard.failure is None for monitor in monitors)
    return writer


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "trainkit"]


def linear(value: float = 1.0) -> nn.Linear:
    model = nn.Linear(2, 1, bias=False)
    nn.init.constant_(model.weight, value)
    return model


def sgd(model: nn.Module, lr: float = 0.0) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=lr)


def assigned(model: nn.Linear) -> None:
    model.load_state_dict({"weight": torch.full((1, 2), 7.0)}, assign=True)


def set_anew(model: nn.Linear) -> None:
    model.weight = nn.Parameter(torch.full((1, 2), 7.0))


def converted(model: nn.Linear) -> None:
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        model.double()
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)
    with torch.no_grad():
        model.weight.fill_(7.0)


@pytest.mark.parametrize("change", [assigned, set_anew, converted])
def test_the_weight_that_is_in_the_model_now(
    change: Callable[[nn.Linear], None], caplog: pytest.LogCaptureFixture
) -> None:
    model = linear()
    writer = watched(model, sgd(model), lambda: change(model))
    assert writer.scalars["tensors.weights.mean/weight"] == [(1, 1.0), (2, 7.0), (3, 7.0)]
    norms = writer.scalars["weights/global_norm"]
    assert norms == [(1, pytest.approx(2**0.5)), *((i, pytest.approx(98**0.5)) for i in (2, 3))]
    # The optimizer goes on with the old one, which has no name any more.
    assert writer.scalars["tensors.gradients.norm/weight"][0][0] == 1
    assert writer.scalars["tensors.gradients.norm/0.0"][-1][0] == 3
    idle, gone = lines(caplog)
    assert idle.startswith("1 parameter of the model is in no optimizer: weight; ")
    assert gone.startswith(
        "the optimizer steps 1 parameter that is not in the model any more: weight; "
    )


def test_a_swap_that_keeps_the_parameter_is_no_replacement(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = linear()

    def change() -> None:
        torch.__future__.set_swap_module_params_on_conversion(True)
        try:
            model.double()
        finally:
            torch.__future__.set_swap_module_params_on_conversion(False)

    writer = watched(model, sgd(model, lr=1.0), change)
    assert writer.scalars["tensors.weights.mean/weight"] == [(1, 0.0), (2, -1.0), (3, -2.0)]
    assert lines(caplog) == []


def test_modules_that_are_added_and_given_to_the_optimizer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = nn.Sequential(linear())
    optimizer = sgd(model)

    def change() -> None:
        model.append(linear(3.0))
        optimizer.add_param_group({"params": model[1].parameters()})

    writer = watched(model, optimizer, change)
    assert writer.scalars["tensors.weights.mean/1.weight"] == [(2, 3.0), (3, 3.0)]
    assert writer.scalars["tensors.gradients.mean/1.weight"][-1] == (3, 1.0)
    assert lines(caplog) == []


def test_a_module_that_is_replaced_deep_inside(caplog: pytest.LogCaptureFixture) -> None:
    model = nn.Sequential(nn.Sequential(linear()), linear())
    optimizer = sgd(model)
    writer = watched(model, optimizer, lambda: model[0].__setitem__(0, linear(5.0)))
    assert [v for _, v in writer.scalars["tensors.weights.mean/0.0.weight"]] == [1.0, 5.0, 5.0]
    assert len(lines(caplog)) == 2


def test_the_optimizer_was_made_before_the_model_was_finished(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The mistake that people look for."""
    model = nn.Sequential(linear(), linear(), linear())
    optimizer = sgd(model)
    for i in (0, 2):
        model[i] = linear()
    model[1].requires_grad_(False)
    watched(model, optimizer, lambda: None)
    idle, alone = lines(caplog)
    assert idle == (
        "2 parameters of the model are in no optimizer: 0.weight, 2.weight; give them to one if "
        "they are to be trained, or freeze them (requires_grad_(False))"
    )
    assert alone == (
        "the optimizer steps 2 parameters that are not in the model, shown by group and position: "
        "0.0, 0.2"
    )


def test_a_frozen_rest_and_one_that_is_thawed_later(caplog: pytest.LogCaptureFixture) -> None:
    model = nn.Sequential(linear(), linear())
    model[0].requires_grad_(False)
    optimizer = torch.optim.SGD(model[1].parameters(), lr=0.0)
    watched(model, optimizer, lambda: None)
    assert lines(caplog) == []


def test_it_is_said_once_however_often_the_model_changes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = linear()
    optimizer = sgd(model)

    def step(engine: Engine, batch: Any) -> None:
        set_anew(model)

    engine = Engine(step)
    WeightMonitor(MemoryWriter(), model=model, optimizers=optimizer).attach(engine)
    with caplog.at_level(logging.INFO):
        engine.run([0] * 20)
    assert len(lines(caplog)) == 2


def test_no_optimizer_at_all_is_no_mistake(caplog: pytest.LogCaptureFixture) -> None:
    engine = Engine(lambda engine, batch: None)
    WeightMonitor(MemoryWriter(), model=linear(), optimizers=None).attach(engine)
    engine.run([0])
    assert lines(caplog) == []


def test_the_norm_of_all_with_several_optimizers() -> None:
    models = {"a": linear(3.0), "b": linear(4.0), "frozen": linear(12.0)}
    shared = models["a"].weight
    optimizers = {
        "a": torch.optim.SGD(models["a"].parameters(), lr=0.0),
        "b": torch.optim.SGD([*models["b"].parameters(), shared], lr=0.0),
    }
    writer, engine = MemoryWriter(), Engine(lambda engine, batch: None)
    WeightMonitor(writer, model=models, optimizers=optimizers).attach(engine)
    engine.run([0, 0])
    assert writer.scalars["weights/a/global_norm"][0][1] == pytest.approx(18**0.5)
    assert writer.scalars["weights/b/global_norm"][0][1] == pytest.approx((18 + 32) ** 0.5)
    for _, value in writer.scalars["weights/global_norm"]:
        assert value == pytest.approx((18 + 32 + 288) ** 0.5)


def test_a_scripted_model_is_looked_at_too() -> None:
    scripted = torch.jit.script(linear()) if hasattr(torch.jit, "script") else linear()
    writer = watched(scripted, sgd(scripted), lambda: None)
    assert writer.scalars["tensors.weights.mean/weight"] == [(1, 1.0), (2, 1.0), (3, 1.0)]
