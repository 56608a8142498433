"""An odd parameter or gradient costs itself, with one line; the others go on."""

import logging
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from torch import Tensor, nn

from tests.odd_tensors import READABLE, UNREADABLE, Odd, odd
from trainkit import (
    GradientMonitor,
    MemoryWriter,
    Sampler,
    UpdateMonitor,
    WeightMonitor,
    attach_monitors,
)
from trainkit.handlers.monitor import Monitor

Points = dict[str, list[tuple[int, float]]]


@pytest.fixture(autouse=True)
def _what_torch_warns_of_kinds_is_not_tested() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class WithGradient(nn.Parameter):
    """Its gradient is what one says; torch would refuse some."""

    given: Tensor

    @property
    def grad(self) -> Tensor:  # type: ignore[override]
        return self.given


class Mover(torch.optim.Optimizer):
    """Adds 1 to the first and the last of three parameters, whatever stands between them."""

    def __init__(self, *parameters: Tensor) -> None:
        super().__init__([parameters[0], parameters[-1]], {})
        self.param_groups[0]["params"] = list(parameters)
        self.within: Callable[[], None] = lambda: None

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for parameter in (self.param_groups[0]["params"][i] for i in (0, -1)):
            parameter.add_(1.0)
        self.within()


class Program:
    """[2, 0] and [0, 2], which move, with ones as gradients; and an odd one between them."""

    def __init__(self, between: Tensor) -> None:
        self.model = nn.Module()
        self.model.first = nn.Parameter(torch.tensor([2.0, 0.0]))
        self.model.odd = nn.Parameter(torch.zeros(()))
        self.model.last = nn.Parameter(torch.tensor([0.0, 2.0]))
        self.model._parameters["odd"] = between  # type: ignore[assignment]
        self.optimizer = Mover(self.model.first, between, self.model.last)
        self.moved = self.model.first, self.model.last
        self.writer = MemoryWriter()

    def step(self, engine: Engine, batch: Any) -> None:
        for parameter in self.moved:
            parameter.grad = torch.ones(2)
        self.optimizer.step()

    def watched_by(self, monitor: Callable[..., Monitor], **how: Any) -> Points:
        attached = monitor(self.writer, model=self.model, optimizers=self.optimizer, **how)
        attached.attach(engine := Engine(self.step))
        engine.run([0, 0, 0])
        assert attached.guard.failure is None
        return self.writer.scalars


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "trainkit"]


def magnitudes(it: Odd) -> Tensor:
    assert it.numbers is not None
    return (it.numbers.abs() if it.numbers.is_complex() else it.numbers).double()


@pytest.mark.parametrize("name", UNREADABLE)
def test_weights_without_it(name: str, caplog: pytest.LogCaptureFixture) -> None:
    found = Program(odd(name).tensor).watched_by(WeightMonitor, histograms_every=1)
    assert found["tensors.weights.mean/first"] == [(1, 2.0), (2, 3.0), (3, 4.0)]
    assert found["tensors.weights.max_abs/last"] == [(1, 3.0), (2, 4.0), (3, 5.0)]
    assert found["weights/global_norm"][0] == (1, pytest.approx(math.sqrt(20)))
    assert not any(tag.endswith("/odd") for tag in found)
    lines = told(caplog)
    assert len(lines) == (0 if name == "lazy" else 1), lines  # nothing is wrong with a lazy one
    assert all(": odd, which " in line for line in lines)


@pytest.mark.parametrize("name", READABLE)
def test_weights_with_it(name: str, caplog: pytest.LogCaptureFixture) -> None:
    it = odd(name)
    program = Program(it.tensor)
    found = program.watched_by(WeightMonitor, histograms_every=1)
    x = magnitudes(it)
    assert found["tensors.weights.norm/odd"][-1] == (3, pytest.approx(x.norm().item(), rel=1e-5))
    assert found["tensors.weights.mean/odd"][-1][1] == pytest.approx(
        x.mean().item(), rel=1e-5, abs=1e-6
    )
    assert found["tensors.weights.std/odd"][-1][1] == pytest.approx(
        x.std(correction=0).item(), rel=1e-5, abs=1e-6
    )
    assert found["tensors.weights.max_abs/odd"][-1][1] == pytest.approx(
        x.abs().max().item(), rel=1e-5
    )
    whole = math.sqrt(20 + x.norm().item() ** 2)
    assert found["weights/global_norm"][0][1] == pytest.approx(whole, rel=1e-5)
    assert "tensors.weights.histogram/odd" in program.writer.histograms
    assert told(caplog) == []


@pytest.mark.parametrize("name", UNREADABLE)
def test_gradients_without_it(name: str, caplog: pytest.LogCaptureFixture) -> None:
    parameter = WithGradient(torch.ones(2))
    parameter.given = odd(name).tensor
    found = Program(parameter).watched_by(GradientMonitor, histograms_every=1)
    assert found["tensors.gradients.mean/first"] == [(1, 1.0), (2, 1.0), (3, 1.0)]
    assert found["gradients/global_norm"] == [(i, pytest.approx(2.0)) for i in (1, 2, 3)]
    assert found["gradients/non_finite"] == [(i, 0.0) for i in (1, 2, 3)]
    assert not any(tag.endswith("/odd") for tag in found)
    assert len(told(caplog)) == (0 if name == "lazy" else 1)


@pytest.mark.parametrize("name", READABLE)
def test_gradients_with_it(name: str, caplog: pytest.LogCaptureFixture) -> None:
    it, parameter = odd(name), WithGradient(torch.ones(2))
    parameter.given = it.tensor
    found = Program(parameter).watched_by(GradientMonitor)
    x = magnitudes(it)
    assert found["tensors.gradients.norm/odd"][-1] == (3, pytest.approx(x.norm().item(), rel=1e-5))
    assert found["tensors.gradients.zero_fraction/odd"][0][1] == pytest.approx(
        (x == 0).double().mean().item(), abs=1e-6
    )
    whole = math.sqrt(4 + x.norm().item() ** 2)
    assert found["gradients/global_norm"][0][1] == pytest.approx(whole, rel=1e-5)
    assert told(caplog) == []


def with_gradient(tensor: Tensor) -> bool:
    """Whether torch lets it have a gradient, so that an optimizer moves it."""
    try:
        tensor.grad = torch.zeros(tensor.shape, dtype=tensor.dtype)
    except Exception:
        return False
    return True


MOVED = [name for name in (*READABLE, *UNREADABLE) if with_gradient(odd(name).tensor)]


@pytest.mark.parametrize("name", MOVED)
def test_updates(name: str, caplog: pytest.LogCaptureFixture) -> None:
    it = odd(name)
    assert with_gradient(it.tensor)
    found = Program(it.tensor).watched_by(UpdateMonitor)
    assert found["tensors.updates.ratio/last"] == [
        (1, pytest.approx(math.sqrt(2) / 2)),
        (2, pytest.approx(math.sqrt(2) / math.sqrt(10))),
        (3, pytest.approx(math.sqrt(2) / math.sqrt(20))),
    ]
    if name in READABLE:
        x = magnitudes(it)
        assert found["tensors.updates.ratio/odd"] == [(1, 0.0), (2, 0.0), (3, 0.0)]
        whole = 2 / math.sqrt(8 + x.norm().item() ** 2)
        assert found["updates/global_ratio"][0][1] == pytest.approx(whole, rel=1e-5)
    else:
        assert "tensors.updates.ratio/odd" not in found
        assert found["updates/global_ratio"][0][1] == pytest.approx(2 / math.sqrt(8))
    assert len(told(caplog)) == (0 if name in READABLE else 1)


def test_enough_kinds_are_moved() -> None:
    assert len(set(MOVED) & set(READABLE)) > 10
    assert len(set(MOVED) & set(UNREADABLE)) > 3


@pytest.mark.parametrize("change", ["size", "memory", "type"])
def test_a_step_that_makes_something_else_of_one(
    change: str, caplog: pytest.LogCaptureFixture
) -> None:
    between = nn.Parameter(torch.ones(3))
    between.grad = torch.ones(3)
    program = Program(between)

    def within() -> None:
        if change == "size":
            between.data = torch.ones(7)
        elif change == "memory":
            between.untyped_storage().resize_(0)
        else:
            between.data = torch.full((3,), 3.0, dtype=torch.float64)

    program.optimizer.within = within
    found = program.watched_by(UpdateMonitor)
    assert found["tensors.updates.ratio/first"][0] == (1, pytest.approx(math.sqrt(2) / 2))
    assert len(found["tensors.updates.ratio/first"]) == 3
    if change == "type":
        assert found["tensors.updates.ratio/odd"][0] == (1, pytest.approx(2.0))
    else:
        assert len(told(caplog)) == 1
        assert found["updates/global_ratio"][0][1] == pytest.approx(2 / math.sqrt(8))


def test_one_that_becomes_readable_is_measured_again(caplog: pytest.LogCaptureFixture) -> None:
    between = nn.Parameter(torch.full((3,), 5.0), requires_grad=False)
    program = Program(between)
    count = 0

    def within() -> None:
        nonlocal count
        count += 1
        between.untyped_storage().resize_(0 if count == 2 else 12)
        if count == 3:
            between.fill_(6.0)

    program.optimizer.within = within
    found = program.watched_by(WeightMonitor)
    assert found["tensors.weights.mean/odd"] == [(1, 5.0), (3, 6.0)]
    assert len(found["tensors.weights.mean/first"]) == 3
    assert len(told(caplog)) == 1


class Refusing(Tensor):
    """Answers nothing, not even for its size."""

    @classmethod
    def __torch_function__(cls, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("not for you")


@pytest.mark.parametrize("monitor", [WeightMonitor, GradientMonitor, UpdateMonitor])
def test_one_that_answers_nothing(
    monitor: Callable[..., Monitor], caplog: pytest.LogCaptureFixture
) -> None:
    tensor = torch.ones(2).as_subclass(Refusing)
    with torch._C.DisableTorchFunctionSubclass():
        tensor.grad = torch.ones(2)
    found = Program(tensor).watched_by(monitor)
    (last,) = {tag for tag in found if tag.endswith(("norm/last", "ratio/last"))}
    assert [i for i, _ in found[last]] == [1, 2, 3]
    if monitor is GradientMonitor:  # its gradient is an ordinary tensor
        assert found["tensors.gradients.mean/odd"][0] == (1, 1.0)
    else:
        (line,) = told(caplog)
        assert "the parameter, also of its global values: odd, which raises RuntimeError: " in line


def test_many_have_one_line_for_each_reason(caplog: pytest.LogCaptureFixture) -> None:
    model = nn.ModuleList(nn.Linear(2, 2, device="meta") for _ in range(50))
    model.append(nn.Linear(2, 2))
    model[3].register_parameter("packed", nn.Parameter(torch.zeros(3, dtype=torch.uint4), False))
    writer, engine = MemoryWriter(), Engine(lambda engine, batch: None)
    WeightMonitor(writer, model=model, optimizers=None).attach(engine)
    with caplog.at_level(logging.INFO):
        engine.run([0, 0])
    assert sorted(writer.scalars)[0] == "tensors.weights.max_abs/50.bias"
    several, one = sorted(told(caplog))
    assert "leaves out 100 parameters, also of its global values: 0.weight, 0.bias, " in several
    assert "2.weight and 95 more, which each is on the meta device" in several
    assert "leaves out the parameter, also of its global values: 3.packed, which has" in one


@pytest.mark.parametrize("name", [*READABLE, *UNREADABLE])
def test_gradients_beside_a_parameter_that_has_none(name: str) -> None:
    """Hooks on it, that tell when a backward pass is over, cost nothing but itself either."""
    program = Program(odd(name).tensor)

    def step(engine: Engine, batch: Any) -> None:
        program.optimizer.zero_grad()
        (program.model.first.sum() - 2 * program.model.last.sum()).backward()
        program.optimizer.step()

    program.step = step  # type: ignore[method-assign]
    program.optimizer.zero_grad = lambda set_to_none=True: [  # type: ignore[method-assign]
        setattr(p, "grad", None) for p in program.moved
    ]
    found = program.watched_by(GradientMonitor)
    assert found["tensors.gradients.mean/first"] == [(1, 1.0), (2, 1.0), (3, 1.0)]
    assert found["gradients/global_norm_raw"] == [
        (i, pytest.approx(math.sqrt(10))) for i in (1, 2, 3)
    ]


class Secretive(nn.Module):
    """Tells nobody what is inside."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Linear(2, 1, bias=False)

    def named_parameters(self, *args: Any, **more: Any) -> Any:
        raise RuntimeError("secret")

    def named_modules(self, *args: Any, **more: Any) -> Any:
        raise RuntimeError("secret")

    def forward(self, x: Tensor) -> Tensor:
        return self.inside(x)  # type: ignore[no-any-return]


def test_a_model_whose_own_ways_to_name_what_is_inside_raise() -> None:
    model, writer = Secretive(), MemoryWriter()
    with torch.no_grad():
        model.inside.weight.copy_(torch.tensor([[3.0, 4.0]]))
    sgd = torch.optim.SGD(model.inside.parameters(), lr=1.0)

    def step(engine: Engine, x: Tensor) -> None:
        model(x).sum().backward()
        sgd.step()

    attached = attach_monitors(
        trainer := Engine(step), model=model, optimizers=sgd, writer=writer, predictions=None
    )
    trainer.run([torch.tensor([[3.0, 0.0]])])
    assert attached.failures == {}
    assert writer.scalars["tensors.gradients.norm/inside.weight"] == [(1, 3.0)]
    assert writer.scalars["tensors.weights.norm/inside.weight"] == [(1, 4.0)]
    assert writer.scalars["tensors.activations.mean/inside"] == [(1, 9.0)]


def test_a_monitor_that_fails_after_the_backward_pass_does_not_end_the_others() -> None:
    weight, writer = nn.Parameter(torch.tensor([2.0])), MemoryWriter()
    model, sgd = nn.ParameterList([weight]), torch.optim.SGD([weight], lr=1.0)

    class Failing(GradientMonitor):
        def after_backward(self, key: str, optimizer: torch.optim.Optimizer) -> None:
            raise ZeroDivisionError

    def step(engine: Engine, x: Any) -> None:
        sgd.zero_grad()
        weight.sum().backward()
        sgd.step()

    trainer, sampler = Engine(step), Sampler(1)
    for monitor in (Failing, GradientMonitor, UpdateMonitor):
        monitor(writer, sampler, model=model, optimizers=sgd).attach(trainer)
    trainer.run([0])
    assert [*sampler.failures] == ["Failing"]
    assert writer.scalars["gradients/global_norm_raw"] == [(1, 1.0)]
    assert writer.scalars["updates/global_ratio"] == [(1, 0.5)]
