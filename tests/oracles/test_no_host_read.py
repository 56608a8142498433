"""Monitors of parameters never ask the device for a number, nor for a shape."""

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from tests.stats.test_no_host_read import READS, Operators
from trainkit import GradientMonitor, MemoryWriter, UpdateMonitor, WeightMonitor


@pytest.mark.parametrize("detail", ["global", "module", "parameter"])
@pytest.mark.parametrize("optimizer", ["sgd", "fused"])
def test_no_operator_reads_the_device(detail: str, optimizer: str) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    scaler = torch.amp.GradScaler("cpu", enabled=optimizer == "fused")
    step_it: torch.optim.Optimizer = (
        torch.optim.SGD(model.parameters(), lr=0.1)
        if optimizer == "sgd"
        else torch.optim.AdamW(model.parameters(), fused=True)
    )
    seen: list[set[str]] = []

    def step(engine: Engine, x: torch.Tensor) -> None:
        scaler.scale(model(x).sum()).backward()
        scaler.step(step_it)
        scaler.update()

    def watched(monitored: bool) -> None:
        engine, writer = Engine(step), MemoryWriter()
        if monitored:
            more = {"detail": detail, "histograms_every": 1}
            GradientMonitor(writer, model=model, optimizers=step_it, **more).attach(engine)
            WeightMonitor(writer, model=model, optimizers=step_it, **more).attach(engine)
            UpdateMonitor(writer, model=model, optimizers=step_it, detail=detail).attach(engine)
        engine.run([torch.ones(2, 3)] * 2)
        if monitored:
            assert len(writer.scalars["updates/global_ratio"]) == 2

    for monitored in (False, True):
        with Operators() as operators:
            watched(monitored)
        seen.append(operators.seen)
    assert len(seen[1]) > len(seen[0])
    assert not (seen[1] - seen[0]) & READS
