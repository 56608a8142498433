"""The example of a monitor that computes by itself: its trace against the exact Hessian."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from trainkit import MemoryWriter
from trainkit.cli.main import main

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_monitor"


@pytest.fixture
def hessian_trace(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(EXAMPLE)
    monkeypatch.delitem(sys.modules, "hessian_trace", raising=False)
    from hessian_trace import HessianTraceMonitor

    return HessianTraceMonitor


def test_the_estimate_is_near_the_trace_of_the_exact_hessian(hessian_trace: Any) -> None:
    torch.manual_seed(1)
    model, loss_fn = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)), nn.MSELoss()
    x, y = torch.randn(16, 3), torch.randn(16, 1)
    names = [name for name, _ in model.named_parameters()]
    sizes = [p.numel() for p in model.parameters()]
    shapes = [p.shape for p in model.parameters()]

    def loss(flat: torch.Tensor) -> torch.Tensor:
        parts = [p.reshape(s) for p, s in zip(flat.split(sizes), shapes, strict=True)]
        weights = dict(zip(names, parts, strict=True))
        return loss_fn(torch.func.functional_call(model, weights, (x,)), y)

    flat = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    exact = float(torch.autograd.functional.hessian(loss, flat).trace())
    writer, trainer = MemoryWriter(), Engine(lambda engine, batch: None)
    hessian_trace(writer, model=model, loss_fn=loss_fn, probes=2000).attach(trainer)
    trainer.run([(x, y)])
    ((_, found),) = writer.scalars["loss.hessian/trace"]
    assert found == pytest.approx(exact, rel=0.05)


def test_it_is_a_part_of_a_run(
    hessian_trace: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status = main([
        "run", "+experiment=digits", "trainer.max_iterations=3", "trainer.progress_bar=false",
        "+monitor.parts.hessian._target_=hessian_trace.HessianTraceMonitor",
    ])  # fmt: skip
    assert status == 0
    (folder,) = (tmp_path / "runs" / "digits").glob("*/train")
    events = EventAccumulator(str(folder))
    events.Reload()
    assert [point.step for point in events.Scalars("loss.hessian/trace")] == [1, 2, 3]


def test_dropout_and_batch_norm_are_not_disturbed(hessian_trace: Any) -> None:
    def trained(watched: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
        sgd, loss_fn = torch.optim.SGD(model.parameters(), lr=0.1), nn.MSELoss()

        def step(engine: Engine, batch: Any) -> None:
            sgd.zero_grad()
            loss_fn(model(batch[0]), batch[1]).backward()
            sgd.step()

        trainer = Engine(step)
        if watched:
            monitor = hessian_trace(MemoryWriter(), model=model, loss_fn=loss_fn)
            monitor.attach(trainer)
        trainer.run([(torch.randn(8, 3), torch.randn(8, 1)) for _ in range(4)])
        if watched:
            assert monitor.guard.failure is None
        return [*model.state_dict().values(), torch.rand(1)]

    for plain, watched in zip(trained(False), trained(True), strict=True):
        assert torch.equal(plain, watched)
