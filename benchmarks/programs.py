"""The two networks that monitoring is measured on, and the loop that they are trained with."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import torch
from ignite.engine import Engine
from torch import Tensor, nn

from trainkit.models import Transformer

Batch = tuple[Tensor, Tensor]

# Iterations before the clock starts: the first ones import, allocate and compile.
WARM_UP = 8


@dataclass
class Program:
    """A model, its optimizer and batches that are there already."""

    name: str
    model: nn.Module
    batches: list[Batch]
    iterations: int
    started: float = field(default=0.0, init=False)
    at_start: Callable[[], None] = field(default=lambda: None, init=False)

    def __post_init__(self) -> None:
        self.loss_fn = nn.CrossEntropyLoss()
        self.initial = {name: x.clone() for name, x in self.model.state_dict().items()}
        self.reset()

    def reset(self) -> None:
        """Begin again: a network that has learnt its few batches by heart has no gradients."""
        self.model.load_state_dict(self.initial)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4)
        self.at_start = lambda: None

    def step(self, engine: Engine | None, batch: Batch) -> dict[str, Any]:
        x, y = batch
        self.optimizer.zero_grad()
        y_pred = self.model(x)
        loss = self.loss_fn(y_pred, y)
        loss.backward()
        self.optimizer.step()
        return {"loss": loss.detach(), "y_pred": y_pred.detach(), "y": y}

    @property
    def length(self) -> int:
        return WARM_UP + self.iterations

    def data(self) -> Iterator[Batch]:
        """Batches; the clock starts when the first after the warm-up is asked for."""
        for i in range(self.length):
            if i == WARM_UP:
                self.at_start()
                self.started = perf_counter()
            yield self.batches[i % len(self.batches)]


def mlp(iterations: int) -> Program:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10)
    )
    batches = [(torch.randn(64, 64), torch.randint(0, 10, (64,))) for _ in range(8)]
    return Program("MLP, 6 tensors", model, batches, iterations)


def transformer(iterations: int) -> Program:
    torch.manual_seed(0)
    model = Transformer(vocabulary=97, length=64, layers=12, width=128, heads=4, dropout=0.0)
    batches = [(torch.randint(0, 97, (8, 64)), torch.randint(0, 97, (8, 64))) for _ in range(4)]
    tensors = sum(1 for _ in model.parameters())
    return Program(f"transformer, {tensors} tensors", model, batches, iterations)
