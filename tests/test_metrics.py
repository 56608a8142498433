"""Metrics, against their definitions, over batches of unequal size."""

import math

import pytest
import torch
from ignite.engine import Engine
from torch import Tensor

from trainkit.metrics import binary_accuracy, bits_per_character


def evaluated(metric: object, batches: list[tuple[Tensor, Tensor]]) -> float:
    engine = Engine(lambda _, batch: {"y_pred": batch[0], "y": batch[1], "loss": torch.ones(())})
    metric.attach(engine, "metric")  # type: ignore[attr-defined]
    return float(engine.run(batches).metrics["metric"])


@pytest.mark.parametrize("threshold", [0.0, 0.5])
@pytest.mark.parametrize("shape", [(), (1,)])
def test_binary_accuracy(threshold: float, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    batches = [
        (
            torch.rand(n, 1, generator=generator) + (threshold - 0.5),
            torch.randint(2, (n, *shape), generator=generator).float(),
        )
        for n in (5, 5, 3)
    ]
    right = [
        (float(p) > threshold) == (float(t) == 1)
        for y_pred, y in batches
        for p, t in zip(y_pred, y, strict=True)
    ]
    assert evaluated(binary_accuracy(threshold), batches) == pytest.approx(sum(right) / 13)


def test_bits_per_character() -> None:
    generator = torch.Generator().manual_seed(0)
    batches = [
        (torch.randn(n, 7, 4, generator=generator), torch.randint(7, (n, 4), generator=generator))
        for n in (5, 2)
    ]
    bits = [
        -math.log2(float(y_pred[i, :, t].softmax(0)[y[i, t]]))
        for y_pred, y in batches
        for i in range(len(y))
        for t in range(4)
    ]
    assert evaluated(bits_per_character(), batches) == pytest.approx(sum(bits) / len(bits))
