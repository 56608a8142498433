"""One read of the device per sampled iteration, however many tensors and monitors there are.

The device is torch's `meta`: everything runs on it, and whatever would bring a value (or a shape
that depends on values) to the host raises an error.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events, create_supervised_evaluator
from torch import Tensor, nn

from trainkit import MemoryWriter, attach_monitors
from trainkit.stats.tensors import readable
from trainkit.writers.step import transfer

_DTYPES = {
    torch.float64: np.float64,
    torch.float32: np.float32,
    torch.int64: np.int64,
    torch.int32: np.int32,
    torch.uint8: np.uint8,
}


def train(layers: int, every: int, loss_fn: nn.Module) -> MemoryWriter:
    """Two epochs of two iterations, clipped, an evaluation after each, everything watched."""
    torch.manual_seed(0)
    hidden = [part for _ in range(layers) for part in (nn.Linear(6, 6), nn.ReLU(), nn.Tanh())]
    model = nn.Sequential(*hidden, nn.BatchNorm1d(6), nn.Linear(6, 3)).to("meta")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)

    def step(engine: Engine, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        optimizer.zero_grad()
        y_pred = model(batch[0])
        loss = loss_fn(y_pred, batch[1])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        return {"loss": loss.detach(), "y_pred": y_pred.detach(), "y": batch[1]}

    trainer, evaluator = Engine(step), create_supervised_evaluator(model)
    classes = isinstance(loss_fn, nn.CrossEntropyLoss)
    y = torch.zeros(8, dtype=torch.int64) if classes else torch.zeros(8, 3)
    data = [(torch.randn(8, 6).to("meta"), y.to("meta"))] * 2
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(data))
    writer = MemoryWriter()
    with attach_monitors(
        trainer, model=model, optimizers=optimizer, loss_fn=loss_fn, evaluators=evaluator,
        writer=writer, every=every, histograms_every=1,
    ) as attached:  # fmt: skip
        trainer.run(data, max_epochs=2)
    assert attached.failures == {}
    assert len(attached.monitors) >= 13
    return writer


@pytest.mark.parametrize(
    ("layers", "every", "loss_fn"),
    [
        (1, 1, nn.CrossEntropyLoss()),
        (4, 2, nn.CrossEntropyLoss()),
        (1, 2, nn.MSELoss()),
        (1, 2, nn.BCEWithLogitsLoss()),
    ],
)
def test_one_read_for_each_sampled_iteration(
    layers: int, every: int, loss_fn: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: Counter[str] = Counter()

    def read(tensors: Sequence[Tensor], streams: Sequence[Any] = ()) -> transfer.Arrays:
        reads[tensors[0].device.type] += 1
        return [np.zeros(t.shape, _DTYPES[t.dtype]) for t in tensors]

    monkeypatch.setattr(transfer, "read", read)
    # Elsewhere a tensor of this device is left out, for it holds no numbers.
    monkeypatch.setattr(readable, "HOLDS_NOTHING", lambda tensor: False)
    writer = train(layers, every, loss_fn)
    assert not reads  # nobody asked while it ran
    scalars = writer.scalars
    predicted = (tag for tag in scalars if tag.startswith("predictions/"))
    iterations = {step for tag in predicted for step, _ in scalars[tag]}
    assert iterations == ({1, 2, 3, 4} if every == 1 else {1, 2, 4})
    assert {step for step, _ in scalars["loss/total"]} == {1, 2, 3, 4}
    # Losses of other iterations are read together: the first one, and what lies between samples.
    assert reads["meta"] == (len(iterations) + 1 if every == 1 else len(iterations) + 2)
    assert len([tag for tag in scalars if tag.startswith("tensors.gradients.")]) == 5 * (
        2 * layers + 4
    )
    assert "tensors.gradients.histogram/0.weight" in writer.histograms
    activations = [tag for tag in scalars if tag.startswith("tensors.activations.")]
    assert len(activations) == 2 * (3 * layers + 2) + 2 * layers  # dead of ReLU, saturated of Tanh

    reads.clear()
    assert {step for step, _ in writer.subruns["validation"].scalars["loss/total"]} == {2, 4}
    assert reads["meta"] == 2


def test_the_device_of_these_tests_refuses_to_be_read() -> None:
    for ask in (Tensor.item, Tensor.tolist, Tensor.cpu, float, bool, Tensor.nonzero):
        with pytest.raises((RuntimeError, NotImplementedError)):
            ask(torch.ones(1, device="meta"))  # type: ignore[operator]
