"""What a sample of activations takes: the network of the digits experiment, one thread.

    python benchmarks/activations.py [--batch 32] [--without-numba]

Processor time per iteration, the smallest of several medians: of a forward pass alone, of the same
with every module watched, and the difference.
"""

import argparse
from collections.abc import Mapping
from itertools import pairwise
from statistics import median
from time import thread_time
from typing import Any

import torch
from ignite.engine import Engine, Events

from trainkit import ActivationMonitor
from trainkit.models import CNN
from trainkit.stats.cpu.loops import loops, using, without_numba
from trainkit.writers import MemoryWriter


class Nowhere(MemoryWriter):
    """What is written is not looked at: in a training another thread does that."""

    def write_scalars(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Forget them."""


def seconds(batch: int, watched: bool, iterations: int = 100) -> float:
    """The median time of an iteration that calls the network once."""
    torch.manual_seed(0)
    model, x = CNN(), torch.randn(batch, 1, 8, 8)
    engine, times = Engine(lambda engine, _: model(x)), [0.0]
    if watched:
        ActivationMonitor(Nowhere(), model=model).attach(engine)

    def note(engine: Engine) -> None:
        times.append(thread_time())

    engine.add_event_handler(Events.ITERATION_COMPLETED, note)
    engine.run(range(iterations))
    return median(b - a for a, b in pairwise(times[5:]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--batch", type=int, default=32, help="images in a batch")
    parser.add_argument(
        "--without-numba", action="store_true", help="as if numba were not installed"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with using(without_numba() if arguments.without_numba else loops()):
        seconds(arguments.batch, watched=True)  # compiles, and fills caches
        found = [[seconds(arguments.batch, watched) for watched in (False, True)] for _ in range(9)]
    plain, watched = (1e6 * min(column) for column in zip(*found, strict=True))
    print(f"forward pass       {plain:7.0f} us")
    print(f"the same, watched  {watched:7.0f} us")
    print(f"a sample takes     {watched - plain:7.0f} us")


if __name__ == "__main__":
    main()
