"""What 10,000 parameter tensors cost: attaching, a sampled iteration, opening the dashboard.

python benchmarks/many_tensors.py [--tensors 10000] [--elements 10000]
"""

import argparse
import json
import logging
import statistics
import tempfile
import urllib.request
from itertools import pairwise
from time import perf_counter, sleep
from typing import Any

import torch
from ignite.engine import Engine, Events
from tensorboard import program
from torch import nn

from trainkit import attach_monitors


class Many(nn.Module):
    """So many layers of so many weights, each of them in the loss."""

    def __init__(self, tensors: int, elements: int) -> None:
        super().__init__()
        made = (nn.Parameter(torch.randn(elements) / 100) for _ in range(tensors))
        self.layers = nn.ModuleList(nn.ParameterList([weight]) for weight in made)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([weight.sum() for layer in self.layers for weight in layer]).sum() * x


def training(model: nn.Module) -> tuple[Engine, torch.optim.Optimizer]:
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)

    def step(engine: Engine, x: torch.Tensor) -> dict[str, Any]:
        optimizer.zero_grad()
        loss = model(x)
        loss.backward()
        optimizer.step()
        return {"loss": loss.detach()}

    return Engine(step), optimizer


def durations(
    model: nn.Module, folder: str, every: int, iterations: int
) -> tuple[float, float, float]:
    """Seconds to attach, of the first sample, and of an iteration (the median of the others)."""
    engine, optimizer = training(model)
    start = perf_counter()
    monitors = attach_monitors(
        engine, model=model, optimizers=optimizer, writer=folder, predictions=None,
        activations=False, every=every,
    )  # fmt: skip
    attaching = perf_counter() - start
    marks: list[float] = []
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda _: marks.append(perf_counter()))
    engine.run([torch.ones(())] * iterations, max_epochs=1)
    monitors.remove()
    found = [b - a for a, b in pairwise(marks)]
    cadence: Any = monitors.sampler.cadence
    return attaching, cadence.first_sample_seconds, statistics.median(found[2:])


def opening(folder: str) -> tuple[float, int]:
    """Seconds until TensorBoard, started on this folder, lists its series; and their number."""
    start = perf_counter()
    board = program.TensorBoard()
    board.configure(argv=["", "--logdir", folder, "--port", "0", "--host", "127.0.0.1"])
    url = board.launch()
    while True:
        with urllib.request.urlopen(f"{url}data/plugin/scalars/tags", timeout=60) as answer:
            series = sum(len(tags) for tags in json.load(answer).values())
        if series:
            return perf_counter() - start, series
        sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tensors", type=int, default=10_000)
    parser.add_argument("--elements", type=int, default=10_000, help="of each tensor")
    parser.add_argument("--iterations", type=int, default=12)
    asked = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.manual_seed(0)
    model = Many(asked.tensors, asked.elements)
    total = asked.tensors * asked.elements
    print(f"{asked.tensors:,} tensors, {total / 1e6:,.0f} million parameters")
    weights = list(model.parameters())
    passes = []
    for _ in range(5):
        start = perf_counter()
        torch._foreach_norm(weights)
        passes.append(perf_counter() - start)
    one_pass = statistics.median(passes)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        *_, alone = durations(model, f"{folder}/alone", 10**9, asked.iterations)
        attaching, first, sampled = durations(model, f"{folder}/watched", 1, asked.iterations)
        seconds, series = opening(f"{folder}/watched")
    more = sampled - alone
    print(f"attach                     {attaching:8.2f} s (goal: 2)")
    print(f"the first sample           {first:8.2f} s (names, numba, memory)")
    print(f"iteration, not sampled     {1e3 * alone:8.0f} ms")
    print(f"iteration, sampled         {1e3 * sampled:8.0f} ms")
    print(f"one pass over the weights  {1e3 * one_pass:8.0f} ms (torch._foreach_norm)")
    # Raw gradients, gradients, weights: read; a copy of the weights: read, written, read again
    # beside the weights.
    rest = (more - 7 * one_pass) / asked.tensors
    print(f"more, per tensor           {1e6 * more / asked.tensors:8.1f} µs")
    print(f"  without seven passes     {1e6 * rest:8.1f} µs (goal: 15)")
    print(f"TensorBoard lists them in  {seconds:8.1f} s ({series} series)")


if __name__ == "__main__":
    main()
