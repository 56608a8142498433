"""What a few numbers in every iteration cost: `python benchmarks/curves.py`.

A trainer that does next to nothing returns a loss and its components in main memory.
Microseconds of processor time of an iteration with the monitor less those without, everything
included: Ignite's calls, the writer's thread, the event file. Medians over repetitions of all
cases in turn.
"""

import argparse
import statistics
import tempfile
from time import process_time
from typing import Any

import torch
from ignite.engine import Engine

from trainkit.handlers.monitors.losses import LossMonitor
from trainkit.handlers.sampling.cadence import Every
from trainkit.handlers.sampling.metered import Metered
from trainkit.handlers.sampling.sampler import Sampler
from trainkit.writers import open_writer

__all__ = ["main"]


def microseconds(iterations: int, components: int, watch: str) -> float:
    """Of one iteration."""
    loss = torch.tensor(0.5)
    losses = {f"component_{i}": torch.tensor(0.1) for i in range(components)}
    x = torch.randn(8, 3)

    def step(engine: Engine, batch: Any) -> dict[str, Any]:
        return {"loss": loss, "losses": losses, "y_pred": x, "y": x}

    trainer = Engine(step)
    with tempfile.TemporaryDirectory() as directory:
        writer = open_writer(directory)
        if watch:
            every = watch == "every iteration"
            sampler = Sampler(Metered(Every(1 << 40)))
            LossMonitor(writer, sampler, every_iteration=every).attach(trainer)
        start = process_time()
        trainer.run([0] * iterations)
        writer.close()
        return (process_time() - start) / iterations * 1e6


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--iterations", type=int, default=9000)
    asked = parser.parse_args()
    print(f"torch {torch.__version__}, {asked.iterations} iterations, µs more in an iteration")
    print("components   not sampled   loss of every iteration   of which the curve")
    for components in (0, 1, 3):
        found: dict[str, list[float]] = {"": [], "not sampled": [], "every iteration": []}
        for _ in range(asked.repetitions):
            for watch, times in found.items():
                times.append(microseconds(asked.iterations, components, watch))
        bare, idle, curve = (statistics.median(times) for times in found.values())
        print(
            f"{components:10d} {idle - bare:13.1f} {curve - bare:25.1f} {curve - idle:20.1f}"
            f"   (an iteration: {bare:.0f} µs)"
        )


if __name__ == "__main__":
    main()
