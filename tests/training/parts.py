"""Small parts that the tests of `run` put together."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from ignite.metrics import Accuracy
from torch import Tensor, nn

from trainkit.data import Batches, Data
from trainkit.losses import L2, Losses
from trainkit.settings import MonitorSettings, TrainerSettings
from trainkit.training import RunResult, run

QUIET = MonitorSettings(
    losses=False, metrics=False, gradients=False, weights=False, updates=False, activations=False,
    predictions=False, hyperparameters=False, throughput=False,
)  # fmt: skip

FULL = MonitorSettings(every=1, histograms_every=3)


def cases(n: int, seed: int) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=g)
    return x, (x[:, 0] + 0.3 * torch.randn(n, generator=g) > 0).long() + (x[:, 1] > 1).long()


def blobs(batch_size: int = 16, seed: int = 0) -> Data:
    return Data(
        Batches(*cases(104, 1), batch_size=batch_size, shuffle=True, seed=seed),
        Batches(*cases(50, 2), batch_size=batch_size),
        Batches(*cases(40, 3), batch_size=batch_size),
    )


def network(dropout: float = 0.2) -> nn.Module:
    return nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 3)
    )


def parts(**changes: Any) -> dict[str, Any]:
    return {
        "model": partial(network),
        "data": partial(blobs),
        "loss": partial(
            Losses,
            {
                "cross_entropy": {"loss": nn.CrossEntropyLoss()},
                "l2": {"weight": 1e-3, "loss": partial(L2)},
            },
        ),
        "optimizer": partial(torch.optim.SGD, lr=0.1, momentum=0.9),
        "metrics": {"accuracy": partial(Accuracy)},
        "trainer": TrainerSettings(epochs=3, progress_bar=False),
        "monitor": QUIET,
    } | changes


def go(directory: Path, **changes: Any) -> RunResult:
    return run(directory=directory, **parts(**changes))


def weights(result: RunResult, name: str = "model") -> Tensor:
    state = result.models[name].state_dict()
    return torch.cat([value.flatten().double() for value in state.values()])
