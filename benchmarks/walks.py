"""The way of a number from a training step to the event file: calls, and files that it crosses.

    python benchmarks/walks.py

A call counts if trainkit calls trainkit; a boundary is crossed where that is in another file. One
monitor is attached; the third iteration is looked at, in the training's thread and in the writer's.
`upwards` counts calls of the writer's room into that of the monitors.
"""

import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn

import trainkit
from trainkit import GradientMonitor, LossMonitor, open_writer

ROOT = str(Path(trainkit.__file__).parent)


class Walk:
    """Counts calls while it is open, in this thread and in those that are started later."""

    def __init__(self) -> None:
        self.open = False
        self.calls = self.boundaries = self.upwards = 0
        self.files: Counter[str] = Counter()

    def see(self, frame: FrameType, event: str, _: Any) -> None:
        if not self.open or event != "call" or frame.f_back is None:
            return
        here, there = frame.f_back.f_code.co_filename, frame.f_code.co_filename
        if not there.startswith(ROOT):
            return
        self.calls += 1
        self.files[there.removeprefix(ROOT)] += 1
        if here.startswith(ROOT) and here != there:
            self.boundaries += 1
            self.upwards += "/writers/" in here and "/handlers/" in there


def walk(monitor: str) -> Walk:
    """The way of a loss or of a gradient norm."""
    seen = Walk()
    threading.setprofile(seen.see)
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(engine: Engine, x: torch.Tensor) -> dict[str, torch.Tensor]:
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return {"loss": loss.detach()}

    with tempfile.TemporaryDirectory() as folder:
        writer = open_writer(folder)
        trainer = Engine(step)

        def begin(engine: Engine) -> None:
            if engine.state.iteration == 3:
                writer.flush()
                seen.open = True

        def end(engine: Engine) -> None:
            if engine.state.iteration == 3:
                writer.flush()
                seen.open = False

        trainer.add_event_handler(Events.ITERATION_STARTED, begin)
        if monitor == "loss":
            LossMonitor(writer).attach(trainer)
        else:
            GradientMonitor(writer, model=model, optimizers=optimizer, detail="global").attach(
                trainer
            )
        trainer.add_event_handler(Events.ITERATION_COMPLETED, end)
        sys.setprofile(seen.see)
        try:
            trainer.run([torch.ones(8, 4)] * 3)
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
        writer.close()
    return seen


if __name__ == "__main__":
    print(f"{'way':>14s} {'files':>6s} {'calls':>6s} {'boundaries':>11s} {'upwards':>8s}")
    for name in ("loss", "gradient norm"):
        found = walk(name)
        row = f"{len(found.files):6d} {found.calls:6d} {found.boundaries:11d} {found.upwards:8d}"
        print(f"{name:>14s} {row}")
