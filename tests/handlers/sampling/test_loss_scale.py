"""Finding the loss scaler of a loop."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from torch import nn
from torch.amp.grad_scaler import GradScaler

from trainkit.handlers.sampling.loss_scale import LossScale

a_global = GradScaler("cpu", init_scale=2.0)


def using_a_global(engine: Engine, batch: Any) -> Any:
    return a_global


def using_an_argument(scaler: GradScaler, engine: Engine, batch: Any) -> Any:
    return scaler


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    def step(engine: Engine, batch: Any) -> Any:
        return function(engine, batch)

    return step


class Bound:
    def __init__(self) -> None:
        self.scaler = GradScaler("cpu")

    def step(self, engine: Engine, batch: Any) -> Any:
        return self.scaler

    def enclosed(self) -> Callable[..., Any]:
        return lambda engine, batch: self.scaler

    def __call__(self, engine: Engine, batch: Any) -> Any:
        return self.scaler


def enclosing() -> Callable[..., Any]:
    scaler = GradScaler("cpu")
    if not scaler:  # a variable of an enclosing function without a value
        nothing = 1
    return lambda engine, batch: (scaler, lambda: nothing)


class Closed:
    """What does not let itself be looked into: a proxy of something that is not there yet."""

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        raise RuntimeError("not within a context")


def beside_what_is_closed() -> Callable[..., Any]:
    closed, scaler = Closed(), GradScaler("cpu")
    return lambda engine, batch: (closed, scaler)


@pytest.mark.parametrize(
    "step",
    [
        using_a_global,
        partial(using_an_argument, GradScaler("cpu")),
        wrapped(using_a_global),
        Bound().step,
        Bound().enclosed(),
        Bound(),
        enclosing(),
        beside_what_is_closed(),
    ],
)
def test_what_the_process_function_refers_to(step: Callable[..., Any]) -> None:
    found = LossScale()
    found.begin(Engine(step))
    assert found.known


def test_the_engines_own() -> None:
    found, engine = LossScale(), Engine(lambda engine, batch: None)
    found.begin(engine)
    assert not found.known
    engine.state.scaler = GradScaler("cpu", enabled=False)
    found.begin(engine)
    assert not found.known  # it does nothing
    engine.state.scaler = GradScaler("cpu")
    found.begin(engine)
    assert found.known


def test_what_is_no_scaler() -> None:
    with pytest.raises(TypeError, match=r"scaler must be a torch.amp.GradScaler, got 2.0"):
        LossScale(2.0)  # type: ignore[arg-type]


def test_whose_it_is_and_what_it_skipped() -> None:
    models = [nn.Linear(1, 1) for _ in range(2)]
    ours, other = (torch.optim.SGD(m.parameters(), lr=0.1) for m in models)
    scaler = GradScaler("cpu", init_scale=8.0)
    found = LossScale(scaler)
    found.begin(Engine(lambda engine, batch: None))
    scaler.scale(models[0](torch.ones(1, 1)).sum() * torch.inf).backward()
    assert found.of(ours) is None
    found.note(ours)
    assert not found.skipped(ours)
    scaler.step(ours)
    assert found.of(ours) is scaler
    assert float(found.scale(ours)) == 8.0
    assert found.of(other) is None
    scaler.update()
    assert found.skipped(ours)
    assert not found.skipped(other)
    found.forget(ours)
    assert not found.skipped(ours)
