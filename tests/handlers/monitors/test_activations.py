"""Module outputs against what the modules really put out."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from threading import Thread
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call, grad, vmap
from torch.utils.checkpoint import checkpoint

from tests.handlers.leftovers import leftovers
from tests.odd_tensors import Holder, WithMemory, Wrapper
from trainkit import ActivationMonitor, MemoryWriter


def shown(writer: MemoryWriter) -> set[str]:
    """The modules that have series of their own."""
    return {tag.split("/")[1] for tag in writer.scalars if tag.startswith("tensors.")}


class Shared(nn.Module):
    """One module called twice, one that returns a tuple, one that works in place."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.act = nn.ReLU(inplace=True)
        self.memory = nn.LSTM(4, 3, batch_first=True)
        self.gate = nn.Sigmoid()
        self.unused = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.inner(self.act(self.inner(x))))
        out, _ = self.memory(h[:, None])
        return self.gate(out[:, 0] * 20)


def outputs(model: nn.Module, x: Tensor) -> dict[str, list[Tensor]]:
    """What every leaf puts out, cloned at once."""
    found: dict[str, list[Tensor]] = {}

    def keep(name: str) -> Any:
        def hook(_: nn.Module, __: Any, y: Any) -> None:
            y = y[0] if isinstance(y, tuple) else y
            found.setdefault(name, []).append(y.detach().clone())

        return hook

    handles = [
        module.register_forward_hook(keep(name))
        for name, module in model.named_modules()
        if not list(module.children())
    ]
    model(x)
    for handle in handles:
        handle.remove()
    return found


def watched(model: nn.Module, x: Tensor, **options: Any) -> dict[str, float]:
    writer = MemoryWriter()

    def step(engine: Engine, batch: Tensor) -> None:
        model(batch).sum().backward()
        with torch.no_grad():  # an evaluation in between
            model(batch * 100)

    engine = Engine(step)
    handle = ActivationMonitor(writer, model=model, **options).attach(engine)
    engine.run([x])
    handle.remove()
    assert leftovers(model, engine) == []
    found = {tag: points[0][1] for tag, points in writer.scalars.items()}
    for name in ("dead_fraction", "saturated_fraction"):
        of_modules = [v for tag, v in found.items() if f".{name}/" in tag]
        largest = found.pop(f"tensors/{name}_max", None)
        assert largest == (max(of_modules) if of_modules else None)
    return found


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_statistics_are_those_of_all_calls_together(scale: float) -> None:
    torch.manual_seed(0)
    model, x = Shared(), torch.randn(16, 4) * scale
    found, truth = watched(model, x), outputs(model, x)
    assert {tag.split("/")[1] for tag in found} == set(truth) == {"inner", "act", "memory", "gate"}
    for name, ys in truth.items():
        y = torch.cat([each.flatten() for each in ys]).double()
        assert found[f"tensors.activations.mean/{name}"] == pytest.approx(y.mean().item(), rel=1e-4)
        std = y.std(correction=0).item()
        assert found[f"tensors.activations.std/{name}"] == pytest.approx(std, rel=1e-3, abs=1e-7)
    dead = torch.stack(truth["act"]).eq(0).flatten(0, 1).all(0).double().mean().item()
    assert found["tensors.activations.dead_fraction/act"] == pytest.approx(dead)
    gate = truth["gate"][0]
    near = ((gate < 0.01) | (gate > 0.99)).double().mean().item()
    assert found["tensors.activations.saturated_fraction/gate"] == pytest.approx(near)
    assert "tensors.activations.dead_fraction/inner" not in found


class Block(nn.Module):
    """What residual networks are made of: the rectifier's input is no module's output."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(x + self.norm(self.conv(x)))
        return out


def half_dead(*modules: nn.Module, units: int = 4) -> nn.Sequential:
    """Modules whose units are dead (the first half) or alive, wherever their dimension is."""
    dead = torch.arange(units) < units // 2

    class Bias(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            dimension = next(d for d in range(1, x.ndim) if x.shape[d] == units)
            bias = torch.where(dead, -1e6, 1e6)
            return x + bias.view([-1 if d == dimension else 1 for d in range(x.ndim)])

    return nn.Sequential(*modules, Bias(), nn.ReLU(), nn.Flatten())


@pytest.mark.parametrize(
    ("modules", "shape"),
    [
        ([nn.Linear(3, 4)], (16, 3)),
        ([nn.Linear(3, 4)], (16, 5, 3)),
        ([nn.Linear(3, 4)], (2, 6, 6, 3)),
        ([nn.Linear(3, 4), nn.LayerNorm(4), nn.Dropout()], (16, 5, 3)),
        ([nn.Embedding(3, 4)], (16, 5)),
        ([nn.Conv1d(3, 4, 1)], (16, 3, 5)),
        ([nn.Conv1d(3, 4, 1), nn.BatchNorm1d(4)], (16, 3, 5)),
        ([nn.Linear(3, 4), nn.BatchNorm1d(4)], (16, 3)),
        ([nn.Conv2d(3, 4, 3)], (2, 3, 8, 8)),
        ([nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.Dropout2d()], (2, 3, 8, 8)),
        ([nn.Conv3d(3, 4, 1)], (2, 3, 2, 2, 2)),
        ([nn.Conv1d(3, 4, 1), nn.MaxPool1d(2)], (2, 3, 8)),
        ([nn.ConvTranspose2d(3, 4, 2)], (2, 3, 2, 2)),
        ([nn.Linear(3, 120), nn.Unflatten(1, (4, 5, 6))], (2, 3)),
        ([nn.Conv1d(3, 24, 1), nn.Flatten(1), nn.Unflatten(1, (6, 4))], (2, 3, 1)),
        ([nn.Identity()], (2, 4)),
        ([nn.Identity()], (2, 5, 4)),
        ([nn.Identity()], (2, 4, 5, 5)),
    ],
)
def test_units_lie_where_the_module_before_says(
    modules: list[nn.Module], shape: tuple[int, ...]
) -> None:
    embeds = isinstance(modules[0], nn.Embedding)
    x = torch.zeros(shape).long() if embeds else torch.randn(shape, requires_grad=True)
    found = watched(half_dead(*modules), x)
    assert found[f"tensors.activations.dead_fraction/{len(modules) + 1}"] == 0.5


def test_units_of_a_residual_block_are_channels() -> None:
    model = Block()
    nn.init.zeros_(model.norm.weight)
    x = torch.ones(2, 4, 4, 4) * torch.tensor([1.0, -1.0, -1.0, -1.0]).view(4, 1, 1)
    assert watched(model, x)["tensors.activations.dead_fraction/act"] == 0.75


def test_units_without_a_batch() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    nn.init.constant_(model[0].weight, 0.0)
    with torch.no_grad():
        model[0].bias.copy_(torch.tensor([-1.0, 1.0, -1.0, -1.0]))
    assert watched(model, torch.rand(1, 5, 5))["tensors.activations.dead_fraction/1"] == 0.75
    # One row of features has no units that are 0 for the whole batch.
    found = watched(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), torch.rand(3))
    assert "tensors.activations.dead_fraction/1" not in found


def test_channels_last() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()).to(memory_format=torch.channels_last)
    with torch.no_grad():
        model[0].bias.copy_(torch.tensor([-1e3, 1e3, -1e3, 1e3]))
    x = torch.rand(2, 1, 8, 8).to(memory_format=torch.channels_last)
    assert watched(model, x)["tensors.activations.dead_fraction/1"] == 0.5


@pytest.mark.parametrize("name", ["spectral_norm", "weight_norm", "orthogonal"])
def test_a_parametrized_layer_is_a_layer_and_its_parametrization_is_none(name: str) -> None:
    torch.manual_seed(0)
    model, outputs = nn.Sequential(nn.Linear(2, 2), nn.ReLU()), []
    getattr(nn.utils.parametrizations, name)(model[0])
    model[0].register_forward_hook(lambda module, x, y: outputs.append(y.mean().item()))
    found = calls(lambda model, x: model(x), model)
    assert found.keys() == {"0", "1"}
    assert found["0"] == pytest.approx(outputs[0], rel=1e-5)


def test_a_weight_that_hooks_compute() -> None:
    model = nn.Sequential(nn.utils.spectral_norm(nn.Linear(2, 2)), nn.ReLU())
    assert calls(lambda model, x: model(x), model).keys() == {"0", "1"}


def test_a_tied_module_has_its_first_name() -> None:
    model = nn.Sequential(nn.Identity(), nn.Linear(2, 2))
    model.add_module("again", model[0])
    found = watched(model, torch.ones(3, 2))
    assert {tag.split("/")[1] for tag in found} == {"0", "1"}
    y = torch.cat([torch.ones(3, 2), model[1](torch.ones(3, 2))]).detach()
    assert found["tensors.activations.std/0"] == pytest.approx(y.std(correction=0).item(), rel=1e-5)


def test_a_module_of_two_models_whose_first_name_is_left_out_has_its_second() -> None:
    shared, writer = nn.Linear(2, 2), MemoryWriter()
    models = {"a": nn.Sequential(shared), "b": nn.Sequential(nn.ReLU(), shared)}
    engine = Engine(lambda engine, x: models["b"](x))
    ActivationMonitor(writer, model=models, exclude=["a"]).attach(engine)
    engine.run([torch.ones(2, 2)])
    assert shown(writer) == {"b.0", "b.1"}


def test_a_module_that_is_replaced_is_seen_as_replaced() -> None:
    model, writer = nn.Sequential(nn.Identity(), nn.Identity()), MemoryWriter()
    engine = Engine(lambda engine, x: model(x))
    ActivationMonitor(writer, model=model).attach(engine)

    @engine.on(Events.ITERATION_COMPLETED(once=2))
    def replace() -> None:
        model[1] = nn.Sequential(nn.Flatten(), nn.ReLU())

    engine.run([-torch.ones(2, 2)] * 3)
    assert writer.scalars["tensors.activations.mean/0"] == [(1, -1.0), (2, -1.0), (3, -1.0)]
    assert writer.scalars["tensors.activations.mean/1"] == [(1, -1.0), (2, -1.0)]
    assert writer.scalars["tensors.activations.mean/1.0"] == [(3, -1.0)]
    assert writer.scalars["tensors.activations.dead_fraction/1.1"] == [(3, 1.0)]


def calls(step: Callable[[nn.Module, Tensor], Any], model: nn.Module) -> dict[str, float]:
    writer = MemoryWriter()
    engine = Engine(lambda engine, x: step(model, x))
    with ActivationMonitor(writer, model=model).attach(engine):
        engine.run([torch.ones(2, 2)])
    return {tag.split("/")[1]: v[0][1] for tag, v in writer.scalars.items() if ".mean/" in tag}


def test_a_frozen_backbone_is_shown() -> None:
    def step(model: nn.Module, x: Tensor, gradients: bool) -> None:
        with torch.set_grad_enabled(gradients):
            features = model.get_submodule("backbone")(x)
        model.get_submodule("head")(features).sum().backward()

    for gradients in (True, False):
        model = nn.ModuleDict({"backbone": nn.Identity(), "head": nn.Linear(2, 1)})
        model["backbone"].eval()
        assert calls(partial(step, gradients=gradients), model)["backbone"] == 1.0


def test_an_evaluation_within_the_step_is_not_mixed_in() -> None:
    def evaluate(model: nn.Module, x: Tensor) -> None:
        model.eval()
        with torch.no_grad():
            model(x)
        model.train()

    def before(model: nn.Module, x: Tensor) -> None:
        evaluate(model, 100 * x)
        model(x)

    def after(model: nn.Module, x: Tensor) -> None:
        model(x)
        evaluate(model, 100 * x)

    def with_gradients(model: nn.Module, x: Tensor) -> None:
        model.eval()(100 * x)
        model.train()(x)

    for step in (before, after, with_gradients):
        assert calls(step, nn.Sequential(nn.Identity())) == {"0": 1.0}


def test_an_evaluator_in_between_is_not_looked_at() -> None:
    model, writer = nn.Sequential(nn.Identity()), MemoryWriter()
    trainer = Engine(lambda engine, x: model(x))
    evaluator = Engine(lambda engine, x: model(100 * x))

    def evaluate() -> None:
        evaluator.run([torch.ones(2, 2)])

    for event in (Events.ITERATION_STARTED, Events.ITERATION_COMPLETED):
        trainer.add_event_handler(event, evaluate)
    ActivationMonitor(writer, model=model).attach(trainer)
    for event in (Events.ITERATION_STARTED, Events.ITERATION_COMPLETED):
        trainer.add_event_handler(event, evaluate)
    trainer.run([torch.ones(2, 2)] * 2)
    assert writer.scalars["tensors.activations.mean/0"] == [(1, 1.0), (2, 1.0)]


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_modules_are_counted_once(reentrant: bool) -> None:
    class Counting(nn.Module):
        n = 0.0

        def forward(self, x: Tensor) -> Tensor:
            self.n += 1
            return x * self.n

    counting = Counting()
    model = nn.Sequential(counting, nn.Sigmoid())

    def step(model: nn.Module, x: Tensor) -> None:
        y = checkpoint(model, x.requires_grad_(), use_reentrant=reentrant)
        assert isinstance(y, Tensor)
        y.sum().backward()
        assert counting.n == 2  # it was computed again, with other numbers

    assert calls(step, model)["0"] == 1.0


@dataclass
class Output:
    loss: Tensor | None = None
    logits: Tensor | None = None


class Strange:
    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class Returns(nn.Module):
    def __init__(self, kind: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Any:
        return self.kind(x)


@pytest.mark.parametrize(
    "kind",
    [
        lambda x: (x, 7 * x),
        lambda x: {"a": None, "b": [x, 7 * x]},
        lambda x: OrderedDict(logits=x),
        lambda x: Output(logits=x),
        lambda x: nn.utils.rnn.pack_padded_sequence(x[:, None], torch.tensor([2])),
        lambda x: x.as_subclass(Labelled),
        lambda x: x.to_sparse(),
        lambda x: torch.nested.as_nested_tensor([x, x[:1]]),
        lambda x: torch.quantize_per_tensor(x, 1.0, 0, torch.qint8),
        lambda x: x.to_mkldnn(),
    ],
)
def test_what_modules_return(kind: Callable[[Tensor], Any]) -> None:
    model = nn.Sequential(Returns(kind))
    assert calls(lambda model, x: model(x), model)["0"] == 1.0


class Labelled(Tensor):
    """As MONAI's and torchvision's: with notes beside the elements, tensors among them."""

    def __init__(self) -> None:
        self.place = {"affine": torch.eye(4)}

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None):  # type: ignore[no-untyped-def]
        return super().__torch_function__(function, types, args, kwargs or {})


def freed(x: Tensor, left: int = 0) -> Tensor:
    y = x.clone()
    y.untyped_storage().resize_(left)
    return y


@pytest.mark.parametrize(
    "kind",
    [
        Strange,
        lambda x: [Strange(x)],
        lambda x: None,
        lambda x: x.to("meta"),
        lambda x: Wrapper(x),
        lambda x: WithMemory(x),
        lambda x: Holder(x),
        freed,
        partial(freed, left=4),
        lambda x: FakeTensorMode().from_tensor(x),
    ],
)
def test_one_odd_module_costs_that_module(
    kind: Callable[[Tensor], Any], caplog: pytest.LogCaptureFixture
) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.odd, self.last = nn.Identity(), Returns(kind), nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            self.odd(self.first(x))
            out: Tensor = self.last(2 * x)
            return out

    model, writer = Net(), MemoryWriter()
    engine = Engine(lambda engine, x: model(x))
    with ActivationMonitor(writer, model=model).attach(engine):
        engine.run([torch.ones(2, 2)] * 3)
    assert writer.scalars["tensors.activations.mean/first"] == [(1, 1.0), (2, 1.0), (3, 1.0)]
    assert writer.scalars["tensors.activations.mean/last"] == [(1, 2.0), (2, 2.0), (3, 2.0)]
    assert "tensors.activations.mean/odd" not in writer.scalars
    [line] = [record.getMessage() for record in caplog.records if record.name == "trainkit"]
    assert "no activations of odd, whose output" in line
    assert "the other modules go on" in line


def test_a_scripted_module_is_one_layer() -> None:
    torch.manual_seed(0)
    script: Any = torch.jit.script
    model = nn.Sequential(nn.Linear(2, 2), script(nn.Sequential(nn.Linear(2, 3), nn.ReLU())))
    found = calls(lambda model, x: model(x).sum().backward(), model)
    truth = {"0": model[0](torch.ones(2, 2)), "1": model(torch.ones(2, 2))}
    assert found == pytest.approx({name: y.mean().item() for name, y in truth.items()}, rel=1e-5)


def test_within_transforms_of_torch_func(caplog: pytest.LogCaptureFixture) -> None:
    def step(model: nn.Module, x: Tensor) -> None:
        parameters = {k: v.detach() for k, v in model.named_parameters()}
        one = grad(lambda p, x: functional_call(model, p, (x,)).sum())
        gradients = vmap(one, (None, 0))(parameters, x)
        assert gradients["0.weight"].shape == (2, 1, 2)

    assert calls(step, nn.Sequential(nn.Linear(2, 1))) == {}
    [line] = [record.getMessage() for record in caplog.records if record.name == "trainkit"]
    assert "no activations of 0" in line
    assert "torch.func" in line

    # Without a transform the parameters alone are others.
    def call(model: nn.Module, x: Tensor) -> None:
        functional_call(model, {"0.weight": torch.tensor([[1.0, 2.0]])}, (x,))

    model = nn.Sequential(nn.Linear(2, 1, bias=False))
    assert calls(call, model) == {"0": 3.0}


def test_what_is_traced_is_not_heard(caplog: pytest.LogCaptureFixture) -> None:
    def step(model: nn.Module, x: Tensor) -> None:
        model(x)
        trace: Any = torch.jit.trace
        trace(nn.Sequential(model), 100 * x, check_trace=False)

    assert calls(step, nn.Sequential(nn.Identity())) == {"0": 1.0}

    def only(model: nn.Module, x: Tensor) -> None:
        trace: Any = torch.jit.trace
        trace(model, x, check_trace=False)

    assert calls(only, nn.Sequential(nn.Linear(2, 2))) == {}
    [line] = [record.getMessage() for record in caplog.records if record.name == "trainkit"]
    assert "none of the watched modules was called" in line


def test_calls_in_other_threads_are_not_heard() -> None:
    def step(model: nn.Module, x: Tensor) -> None:
        model(x)
        thread = Thread(target=model, args=(100 * x,))
        thread.start()
        thread.join()

    assert calls(step, nn.Sequential(nn.Identity())) == {"0": 1.0}


def test_it_is_said_when_nothing_is_heard(caplog: pytest.LogCaptureFixture) -> None:
    model, other, writer = nn.Sequential(nn.Linear(2, 2)), nn.Linear(2, 2), MemoryWriter()
    engine = Engine(lambda engine, x: other(x))
    with ActivationMonitor(writer, model=model).attach(engine):
        engine.run([torch.ones(2, 2)] * 3)
    assert writer.scalars == {}
    [line] = [record.getMessage() for record in caplog.records if record.name == "trainkit"]
    assert "none of the watched modules was called" in line


def test_two_monitors_of_one_engine() -> None:
    models = [nn.Sequential(nn.Identity()) for _ in range(2)]
    writers = [MemoryWriter() for _ in range(2)]
    engine = Engine(lambda engine, x: models[1](10 * models[0](x)))
    for model, writer in zip(models, writers, strict=True):
        ActivationMonitor(writer, model=model).attach(engine)
    engine.run([torch.ones(2, 2)])
    assert [w.scalars["tensors.activations.mean/0"] for w in writers] == [[(1, 1.0)], [(1, 10.0)]]


def test_a_nan_shows() -> None:
    found = watched(nn.Sequential(nn.Linear(2, 2), nn.Tanh()), torch.tensor([[1.0, torch.nan]]))
    assert found["tensors.activations.mean/0"] != found["tensors.activations.mean/0"]
    assert found["tensors.activations.std/1"] != found["tensors.activations.std/1"]


def test_names_and_details() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    x = torch.ones(3, 2)
    assert watched(model, x, detail="global") == {}
    assert {t.split("/")[1] for t in watched(model, x, include=["2"])} == {"2"}
    assert {t.split("/")[1] for t in watched(model, x, exclude=["0", "1"])} == {"2"}
    with pytest.raises(ValueError, match="detail must be one of"):
        ActivationMonitor(MemoryWriter(), model=model, detail="all")
    assert {t.split("/")[1] for t in watched(model, x, include=lambda name: name > "0")} == {
        "1",
        "2",
    }
    with pytest.raises(TypeError, match="include must be a pattern"):
        ActivationMonitor(MemoryWriter(), model=model, include=[2])  # type: ignore[list-item]


def test_names_of_several_models_and_of_wrappers() -> None:
    x = torch.ones(2, 2)
    models = {"a": nn.Sequential(nn.Identity()), "b": nn.DataParallel(nn.Sequential(nn.ReLU()))}
    writer = MemoryWriter()
    engine = Engine(lambda engine, x: models["b"](models["a"](x)))
    ActivationMonitor(writer, model=models).attach(engine)
    only = MemoryWriter()
    ActivationMonitor(only, model=models, include={"a": ["none"]}).attach(engine)
    engine.run([x])
    assert shown(writer) == {"a.0", "b.0"}
    assert shown(only) == {"b.0"}
    # A module of one's own that is called so keeps its name, as its parameters do.
    model = nn.ModuleDict({"module": nn.Sequential(nn.Identity())})
    assert calls(lambda model, x: model.get_submodule("module")(x), model) == {"module.0": 1.0}
