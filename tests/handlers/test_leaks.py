"""What is attached, run and forgotten leaves nothing behind, without `remove()`."""

import gc
import os
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
from ignite.metrics import Accuracy
from torch import nn
from torch.nn.modules import module as global_hooks
from torch.optim import optimizer as optimizers

from trainkit import MemoryWriter, attach_monitors


def cycle(writer: Any, ending: str) -> list[weakref.ref[Any]]:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loss_fn = nn.CrossEntropyLoss()
    trainer = create_supervised_trainer(
        model, optimizer, loss_fn,
        output_transform=lambda x, y, y_pred, loss: {"loss": loss, "y_pred": y_pred, "y": y},
    )  # fmt: skip
    evaluator = create_supervised_evaluator(model, {"accuracy": Accuracy()})
    data = [(torch.randn(8, 4), torch.randint(0, 3, (8,))) for _ in range(4)]
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(data))

    def end() -> None:
        if ending == "interrupted":
            raise KeyboardInterrupt
        if ending == "terminated":
            trainer.terminate()

    model[0].register_forward_hook(
        lambda *_: end() if model.training and trainer.state.iteration == 3 else None
    )
    attached = attach_monitors(
        trainer, model=model, optimizers=optimizer, evaluators=evaluator, loss_fn=loss_fn,
        writer=writer, histograms_every=2, every=2, scheduled={"x": lambda: len(data)},
    )  # fmt: skip
    try:
        trainer.run(data, max_epochs=2)
    except KeyboardInterrupt:
        assert ending == "interrupted"
    return [weakref.ref(thing) for thing in (model, optimizer, trainer, evaluator, attached)]


def open_files() -> int:
    return len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0


@pytest.mark.parametrize(
    ("where", "ending", "cycles"),
    [
        ("folder", "completed", 20),
        ("folder", "interrupted", 5),
        ("memory", "completed", 5),
        ("memory", "interrupted", 5),
        ("memory", "terminated", 5),
    ],
)
def test_cycles_of_attach_run_and_forget(
    where: str, ending: str, cycles: int, tmp_path: Path
) -> None:
    def writer(number: int) -> Any:
        return tmp_path / str(number) if where == "folder" else MemoryWriter()

    cycle(writer(cycles), ending)  # what is imported and made once
    gc.collect()
    before = threading.active_count(), open_files()
    left = [ref for number in range(cycles) for ref in cycle(writer(number), ending)]
    gc.collect()
    assert [ref() for ref in left if ref() is not None] == []
    assert (threading.active_count(), open_files()) == before
    assert not optimizers._global_optimizer_pre_hooks
    assert not global_hooks._global_forward_hooks
