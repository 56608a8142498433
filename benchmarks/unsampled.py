"""What an iteration that is not sampled costs: `python benchmarks/unsampled.py`.

An Ignite engine whose step does nothing but return a loss in main memory, alone and with the
checklist attached to a model of 1,000 tensors. Microseconds that an iteration takes more than
without monitors. "Training" is processor time of the training's thread; "both" is that of the
process, with what the writer's thread does for the curves and the file. Every figure is the least
over blocks of 512 iterations (each hands one block of every curve to the writer) and repetitions of
all cases in turn: other programs on the machine can only make it longer.
"""

import argparse
import logging
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from time import process_time, thread_time
from typing import Any

import torch
from ignite.engine import Engine
from torch import nn

from trainkit import Budget, attach_monitors
from trainkit.handlers.sampling.cadence import Every
from trainkit.handlers.sampling.metered import Metered

__all__ = ["main"]

_BLOCK = 512
_NEVER = 1 << 40
_CURVES = {"losses": False, "hyperparameters": False, "throughput": False}

# What is attached: everything, and less.
CASES: dict[str, dict[str, Any] | None] = {
    "no monitors": None,
    "everything": {},
    "everything, with a budget": {"budget": True},
    "everything but the loss of every iteration": {"losses": False},
    "everything but learning rates": {"hyperparameters": False},
    "everything but throughput": {"throughput": False},
    "nothing that looks at every iteration": _CURVES,
}


def microseconds(options: dict[str, Any] | None, blocks: int) -> tuple[float, float]:
    """Of one iteration: of the training's thread, and of the process."""
    model = nn.ModuleList(nn.Linear(2, 2) for _ in range(500))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.zeros(8, 3)
    output = {"loss": torch.tensor(1.0), "y_pred": x, "y": x}
    batch = (x, x)
    options = None if options is None else dict(options)
    every: Any = Metered(Every(_NEVER))
    if options is not None and options.pop("budget", False):
        every = Budget(1e-9)  # fifty samples in a run: half of its blocks or more have none
        blocks = max(blocks, 100)
    length = (blocks + 1) * _BLOCK
    marks: list[tuple[float, float]] = []

    def step(engine: Engine, batch: Any) -> Any:
        if engine.state.iteration <= 50:  # what is sampled waits for the optimizer's step
            optimizer.step()
        return output

    def data() -> Iterator[Any]:
        for i in range(length):
            if i % _BLOCK == 0:
                marks.append((thread_time(), process_time()))
            yield batch

    engine = Engine(step)
    with tempfile.TemporaryDirectory() as folder:
        if options is None:
            engine.run(data(), max_epochs=1, epoch_length=length)
        else:
            with attach_monitors(
                engine, model=model, optimizers=optimizer, writer=folder, predictions=None,
                every=every, **options,
            ):  # fmt: skip
                engine.run(data(), max_epochs=1, epoch_length=length)
    marks = marks[1:]  # everybody imports and allocates in the first
    thread = min(b[0] - a[0] for a, b in pairwise(marks))
    whole = (marks[-1][1] - marks[0][1]) / (len(marks) - 1)
    return thread / _BLOCK * 1e6, whole / _BLOCK * 1e6


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--blocks", type=int, default=12, help=f"of {_BLOCK} iterations each")
    parser.add_argument("--only", default="", help="cases with this in their names")
    asked = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    chosen = {n: o for n, o in CASES.items() if o is None or asked.only in n}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in chosen}
    for _ in range(asked.repetitions):
        for name, options in chosen.items():
            found[name].append(microseconds(options, asked.blocks))
    least = {
        name: [min(column) for column in zip(*rows, strict=True)] for name, rows in found.items()
    }
    alone, *_ = least.values()
    print(
        f"torch {torch.__version__}; µs more in an iteration, than an engine's own {alone[0]:.1f}"
    )
    print(f"{'':45s}{'training':>10s}{'both':>10s}")
    for name, row in least.items():
        cells = [f"{value - first:10.1f}" for value, first in zip(row, alone, strict=True)]
        if "budget" in name:  # fifty samples are in it
            cells.pop()
        print(f"{name:45s}{''.join(cells)}")


if __name__ == "__main__":
    main()
