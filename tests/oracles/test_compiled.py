"""Compiled models: the same numbers, and nothing is compiled twice because somebody watches."""

import shutil

import pytest
import torch
from ignite.engine import Engine
from torch import Tensor, nn

from trainkit import GradientMonitor, MemoryWriter, UpdateMonitor, WeightMonitor

BACKENDS = ["eager", "aot_eager", pytest.param("inductor", marks=pytest.mark.slow)]


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
            monitor(model, optimizer, writer, every).attach(engine)
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
