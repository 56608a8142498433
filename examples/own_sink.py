"""A sink of your own: it sends the run's numbers to a message broker, in batches.

python examples/own_sink.py [FOLDER]
"""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from ignite.engine import Engine
from torch import nn

from trainkit import Step, attach_monitors, open_writer


class Broker:
    """Stands for a client of Kafka or the like; now and then it cannot be reached."""

    def __init__(self, folder: str) -> None:
        self.folder, self.reachable = Path(folder), True

    def send(self, topic: str, messages: list[str]) -> None:
        """Send all of these messages, or raise."""
        if not self.reachable:
            raise ConnectionError("no broker answers")
        with (self.folder / f"{topic}.jsonl").open("a") as file:
            file.write("".join(messages))


class BrokerSink:
    """Sends a message for each step. Nothing is lost and nothing is sent twice."""

    def __init__(self, broker: Broker, topic: str, size: int = 20) -> None:
        self.broker, self.topic, self.size = broker, topic, size
        self.batch: list[str] = []

    def write(self, steps: Sequence[Step]) -> None:
        """Send what came so far, if that is enough; these steps come again if it raises."""
        batch = self.batch + [json.dumps({"step": s.step, **s.scalars}) + "\n" for s in steps]
        if len(batch) >= self.size:
            self.broker.send(self.topic, batch)
            batch = []
        self.batch = batch

    def flush(self) -> None:
        """Send what came so far; the batch is kept if it raises."""
        self.broker.send(self.topic, self.batch)
        self.batch = []

    close = flush


def main(folder: str) -> None:
    """Fit a line; the broker cannot be reached for the middle of the run."""
    broker, model = Broker(folder), nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(engine: Engine, x: torch.Tensor) -> torch.Tensor:
        loss: torch.Tensor = nn.functional.mse_loss(model(x), 2 * x)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        time.sleep(0.01)
        broker.reachable = not 50 < engine.state.iteration < 150
        return loss.detach()

    writer = open_writer(folder, sinks=[BrokerSink(broker, "run")])
    trainer = Engine(step)
    with attach_monitors(trainer, model=model, optimizers=optimizer, writer=writer):
        trainer.run([torch.randn(8, 1) for _ in range(200)])
    writer.close()
    print(len((broker.folder / "run.jsonl").read_text().splitlines()), "messages")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/own_sink")
