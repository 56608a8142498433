"""Module outputs against what the modules really put out."""

from typing import Any

import pytest
import torch
from ignite.engine import Engine
from torch import Tensor, nn

from tests.handlers.leftovers import leftovers
from trainkit import ActivationMonitor, MemoryWriter


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
    handle = ActivationMonitor(model, writer, **options).attach(engine)
    engine.run([x])
    handle.remove()
    assert leftovers(model, engine) == []
    return {tag: points[0][1] for tag, points in writer.scalars.items()}


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_statistics_are_those_of_all_calls_together(scale: float) -> None:
    torch.manual_seed(0)
    model, x = Shared(), torch.randn(16, 4) * scale
    found, truth = watched(model, x), outputs(model, x)
    assert {tag.split("/")[1] for tag in found} == set(truth) == {"inner", "act", "memory", "gate"}
    for name, ys in truth.items():
        y = torch.cat([each.flatten() for each in ys]).double()
        assert found[f"activations.mean/{name}"] == pytest.approx(y.mean().item(), rel=1e-4)
        std = y.std(correction=0).item()
        assert found[f"activations.std/{name}"] == pytest.approx(std, rel=1e-3, abs=1e-7)
    dead = torch.stack(truth["act"]).eq(0).flatten(0, 1).all(0).double().mean().item()
    assert found["activations.dead_fraction/act"] == pytest.approx(dead)
    gate = truth["gate"][0]
    near = ((gate < 0.01) | (gate > 0.99)).double().mean().item()
    assert found["activations.saturated_fraction/gate"] == pytest.approx(near)
    assert "activations.dead_fraction/inner" not in found


def test_a_dead_channel_of_a_convolution() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    with torch.no_grad():
        model[0].bias.copy_(torch.tensor([-1e3, 1e3, -1e3, 1e3]))
    found = watched(model, torch.rand(2, 1, 8, 8))
    assert found["activations.dead_fraction/1"] == 0.5


def test_a_nan_shows() -> None:
    found = watched(nn.Sequential(nn.Linear(2, 2), nn.Tanh()), torch.tensor([[1.0, torch.nan]]))
    assert found["activations.mean/0"] != found["activations.mean/0"]
    assert found["activations.std/1"] != found["activations.std/1"]


def test_names_and_details() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    x = torch.ones(3, 2)
    assert watched(model, x, detail="global") == {}
    assert {t.split("/")[1] for t in watched(model, x, include=["2"])} == {"2"}
    assert {t.split("/")[1] for t in watched(model, x, exclude=["0", "1"])} == {"2"}
    with pytest.raises(ValueError, match="detail must be one of"):
        ActivationMonitor(model, MemoryWriter(), detail="all")
    with pytest.raises(TypeError, match="must be a list of patterns"):
        ActivationMonitor(model, MemoryWriter(), include="2")


def test_a_module_in_evaluation_mode_is_not_watched() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    model[1].eval()
    assert {t.split("/")[1] for t in watched(model, torch.ones(1, 2))} == {"0"}
