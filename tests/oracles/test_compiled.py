"""Compiled models: the same numbers, and nothing is compiled twice because somebody watches."""

import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from torch import Tensor, nn

from tests.handlers.leftovers import leftovers
from trainkit import (
    ActivationMonitor,
    GradientMonitor,
    MemoryWriter,
    UpdateMonitor,
    WeightMonitor,
    attach_monitors,
)

BACKENDS = ["eager", "aot_eager", pytest.param("inductor", marks=pytest.mark.long)]


def train(backend: str, every: int | None) -> tuple[dict[str, dict[int, float]], dict[str, int]]:
    torch.manual_seed(0)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    module = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
    model = torch.compile(module, backend=backend)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(1)
    batches = [torch.randn(4, 5, generator=generator) for _ in range(7)]

    def step(engine: Engine, batch: Tensor) -> None:
        optimizer.zero_grad()
        model(batch).square().mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.05)
        optimizer.step()

    writer, engine = MemoryWriter(), Engine(step)
    if every is not None:
        for monitor in (GradientMonitor, WeightMonitor, UpdateMonitor):
            monitor(writer, every, model=model, optimizers=optimizer).attach(engine)
    engine.run(batches)
    counters = torch._dynamo.utils.counters
    counted = {
        "graphs": counters["stats"]["unique_graphs"],
        "calls": counters["stats"]["calls_captured"],
        "breaks": sum(counters["graph_break"].values()),
        "frames": counters["frames"]["total"],
    }
    torch._dynamo.reset()
    return {tag: dict(points) for tag, points in writer.scalars.items()}, counted


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_compiled_model(backend: str) -> None:
    if backend == "inductor" and shutil.which("g++") is None:
        pytest.skip("inductor needs a C++ compiler")
    _, unwatched = train(backend, None)
    found, watched = train(backend, 3)
    assert watched == unwatched
    assert watched["graphs"] == 1
    uncompiled, _ = train("eager", 3)
    assert found.keys() == uncompiled.keys()
    for tag, points in uncompiled.items():
        assert found[tag] == pytest.approx(points, rel=1e-4, abs=1e-7), tag


class Network(nn.Sequential):
    """Not one of torch's own modules, whose `forward` alone it would not compile."""

    def forward(self, x: Tensor) -> Tensor:
        return self[2](self[1](self[0](x)))


def compiled(how: str, model: Network) -> tuple[Callable[[Tensor], Tensor], set[str]]:
    """The model, compiled in a way that people do it, and the modules that run outside of it."""
    if how == "wrapped":
        return torch.compile(model, backend="eager"), set()
    if how == "in place":
        model.compile(backend="eager")
        return model, set()
    if how == "a part":
        model[0] = torch.compile(model[0], backend="eager")
        return model, {"1", "2"}
    return torch.compile(lambda x: model(x), backend="eager"), set()


@pytest.mark.parametrize("how", ["wrapped", "in place", "a part", "a function"])
def test_activations_break_no_graph(how: str) -> None:
    counted: list[tuple[int, int, int]] = []
    weights: list[Tensor] = []
    for every in (None, 1, 3):
        torch._dynamo.reset()
        counters = torch._dynamo.utils.counters
        counters.clear()
        torch.manual_seed(0)
        model = Network(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
        forward, seen = compiled(how, model)
        optimizer = torch.optim.Adam(model.parameters())

        def step(
            engine: Engine,
            x: Tensor,
            forward: Callable[[Tensor], Tensor] = forward,
            optimizer: torch.optim.Optimizer = optimizer,
        ) -> None:
            optimizer.zero_grad()
            forward(x).square().mean().backward()
            optimizer.step()

        engine, writer = Engine(step), MemoryWriter()
        if every is not None:
            handle = ActivationMonitor(writer, every, model=model).attach(engine)
        engine.run(torch.randn(6, 4, 5, generator=torch.Generator().manual_seed(1)))
        found = {tag.split("/")[1] for tag in writer.scalars if "." in tag}
        assert found == (set() if every is None else seen)
        counted.append((
            counters["stats"]["unique_graphs"],
            counters["stats"]["calls_captured"],
            sum(counters["graph_break"].values()),
        ))  # fmt: skip
        if every is not None:
            handle.remove()
            assert leftovers(engine, model) == []
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    torch._dynamo.reset()
    assert counted[0][0] > 0
    assert counted[0] == counted[1] == counted[2]
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])


def test_what_is_compiled_within_a_sampled_step_is_compiled_once_more_at_most() -> None:
    torch._dynamo.reset()
    counters = torch._dynamo.utils.counters
    counters.clear()
    model = Network(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    compiled: list[Callable[[Tensor], Tensor]] = []

    def step(engine: Engine, x: Tensor) -> None:
        if not compiled:
            compiled.append(torch.compile(lambda x: model(x), backend="eager", fullgraph=True))
        compiled[0](x).square().mean().backward()

    engine = Engine(step)
    with ActivationMonitor(MemoryWriter(), model=model, every=2).attach(engine):
        engine.run(torch.randn(12, 4, 5))
    graphs = counters["stats"]["unique_graphs"]
    torch._dynamo.reset()
    assert 1 <= graphs <= 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch's own
def test_of_a_compiled_step_nothing_of_ours_is_compiled() -> None:
    counted: list[tuple[int, int]] = []
    for every in (None, 1, 3):
        torch._dynamo.reset()
        counters = torch._dynamo.utils.counters
        counters.clear()
        torch.manual_seed(0)
        model = Network(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        def body(x: Tensor, model: nn.Module = model, optimizer: Any = optimizer) -> Tensor:
            optimizer.zero_grad()
            loss: Tensor = model(x).square().mean()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            return loss.detach()

        step = torch.compile(body, backend="eager")
        engine, writer = Engine(lambda engine, x, step=step: step(x)), MemoryWriter()  # type: ignore[misc]
        if every is not None:
            attach_monitors(
                engine, model=model, optimizers=optimizer, writer=writer, every=every,
                predictions=None,
            )  # fmt: skip
        engine.run(torch.randn(30, 4, 5, generator=torch.Generator().manual_seed(1)))
        counted.append((counters["stats"]["unique_graphs"], counters["frames"]["total"]))
        if every is not None:
            assert len(writer.scalars["gradients/global_norm_raw"]) == (30 if every == 1 else 11)
    torch._dynamo.reset()
    assert counted[1][0] <= counted[0][0] + 1
    assert counted[2][0] <= counted[0][0] + 2
    assert max(frames for _, frames in counted) <= counted[0][1] + 5
