"""What monitoring holds: one copy of the parameters, while a step is measured, and no more."""

import gc
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from trainkit import MemoryWriter, attach_monitors
from trainkit.writers import BackgroundWriter

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "memory.py"


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak as Linux counts it")
def test_a_process_grows_by_one_copy_and_without_the_update_ratio_by_none() -> None:
    sys.path.insert(0, str(BENCHMARK.parent))
    from memory import peak

    tensors, elements = 20, 1_000_000
    size = tensors * elements * 4
    bare = peak(tensors, elements)
    copies = {
        name: (peak(tensors, elements, every=1, **options) - bare) / size
        for name, options in {
            "all": {},
            "without": {"updates": False},
            "longer": {"iterations": 60},
        }.items()
    }
    assert 0.8 < copies["all"] < 1.25
    assert copies["without"] < 0.25
    assert copies["longer"] < copies["all"] + 0.1


class Nowhere(MemoryWriter):
    """Takes everything of a step, and keeps nothing of it."""

    def write(self, steps: Any) -> None:
        pass


def test_nothing_grows_with_the_number_of_iterations() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = torch.optim.Adam(model.parameters())
    loss_fn = nn.CrossEntropyLoss()
    x, y = torch.randn(8, 4), torch.randint(0, 3, (8,))
    writer = BackgroundWriter(Nowhere())
    objects: dict[int, int] = {}

    def step(engine: Engine, batch: int) -> dict[str, Any]:
        if batch in (300, 1500):
            writer.flush()
            gc.collect()
            objects[batch] = len(gc.get_objects())
        optimizer.zero_grad()
        y_pred = model(x)
        loss = loss_fn(y_pred, y)
        loss.backward()
        optimizer.step()
        optimizer.param_groups[0]["lr"] = 1e-3 / (1 + batch)  # which is written every time
        return {"loss": loss, "y_pred": y_pred, "y": y}

    trainer = Engine(step)
    with attach_monitors(
        trainer, model=model, optimizers=optimizer, loss_fn=loss_fn, writer=writer,
        histograms_every=50,
    ) as attached:  # fmt: skip
        trainer.run(range(1600), max_epochs=1)
        assert not attached.failures
    writer.close()
    assert objects[1500] - objects[300] < 300  # one an iteration would be 1,200
