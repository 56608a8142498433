"""How much memory monitoring takes, as multiples of the parameters.

python benchmarks/memory.py [--tensors 40] [--elements 1000000]

By how much a process grows that trains a few iterations, bare and watched in every iteration; and
whether it grows in a longer run.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CASES: dict[str, dict[str, Any]] = {
    "bare Ignite engine": {},
    "all statistics": {"every": 1},
    "  without the update ratio": {"every": 1, "updates": False},
    "  and with histograms": {"every": 1, "histograms_every": 1},
    "all statistics, ten times as long": {"every": 1, "iterations": 120},
}


def train(tensors: int, elements: int, iterations: int, **options: Any) -> None:
    import torch
    from ignite.engine import Engine
    from torch import nn

    from trainkit import attach_monitors

    model = nn.ParameterList([nn.Parameter(torch.randn(elements) / 100) for _ in range(tensors)])
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)

    def step(engine: Engine, batch: Any) -> dict[str, Any]:
        optimizer.zero_grad()
        loss = torch.stack([weight.sum() for weight in model]).sum()
        loss.backward()
        optimizer.step()
        return {"loss": loss.detach()}

    engine = Engine(step)
    with tempfile.TemporaryDirectory() as folder:
        if options:
            attach_monitors(
                engine, model=model, optimizers=optimizer, predictions=None, writer=folder,
                **options,
            )  # fmt: skip
        engine.run(range(iterations), max_epochs=1)


def measured(tensors: int, elements: int, iterations: int = 12, **options: Any) -> int:
    """Train, and return by how many bytes this process grew at its largest."""
    # What is imported, compiled and read from disk once is not what this is about.
    train(tensors, 10, 3, every=1, histograms_every=1)
    before = most_held()
    train(tensors, elements, iterations, **options)
    return most_held() - before


def most_held() -> int:
    """The most bytes that this process has held in memory so far (Linux)."""
    # What `resource` says is inherited from the process that started this one.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def peak(tensors: int, elements: int, **options: Any) -> int:
    """Bytes, of a process of its own."""
    command = [sys.executable, __file__, "--train", json.dumps([tensors, elements, options])]
    # glibc is to give back what is freed: what it keeps for itself differs from run to run.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    run = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return int(run.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tensors", type=int, default=40)
    parser.add_argument("--elements", type=int, default=1_000_000, help="of each tensor")
    parser.add_argument("--train", type=json.loads, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.train is not None:
        tensors, elements, options = asked.train
        print(measured(tensors, elements, **options))
        return
    size = asked.tensors * asked.elements * 4
    print(f"{asked.tensors} tensors, {size / 2**20:,.0f} MiB of parameters; the process grows by")
    bare = 0
    for name, options in CASES.items():
        found = peak(asked.tensors, asked.elements, **options)
        bare = bare or found
        more = f"{(found - bare) / size:+6.2f} times the parameters" if found != bare else ""
        print(f"  {name:34s} {found / 2**20:8,.0f} MiB {more}")
    print("goal: at most one copy, and none without the update ratio")


if __name__ == "__main__":
    main()
