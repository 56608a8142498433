"""How long a checkpoint blocks the training, as a multiple of one copy of the state in memory.

The state is that of a transformer under Adam: weights, gradients, two moments. Compared are, in
turns: a copy of all tensors (the least that a consistent checkpoint can cost), the call that blocks
the training, and a save that waits until the file is on the disk. Each begins with memory that the
system must provide anew, as a save does after some minutes of training.

`python benchmarks/checkpoint.py [--repetitions 9]`
"""

import argparse
import ctypes
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import nn

from trainkit.rundir import Bookkeeping, CheckpointFolder, SaveThread, snapshot

WIDTH, LAYERS = 512, 8


def state() -> dict[str, Any]:
    layer = nn.TransformerEncoderLayer(WIDTH, 8, 4 * WIDTH, batch_first=True)
    model = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(2, 8, WIDTH)).sum().backward()
    optimizer.step()
    return {
        "format": 2,
        "iteration": 1,
        "models": {"model": model.state_dict()},
        "gradients": {name: p.grad for name, p in model.named_parameters()},
        "optimizers": {"optimizer": optimizer.state_dict()},
    }


def tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        return [t for item in value.values() for t in tensors(item)]
    return [t for item in value for t in tensors(item)] if isinstance(value, list | tuple) else []


def give_memory_back() -> None:
    """Without this the copy takes the memory that the copy before it has left."""
    if sys.platform == "linux":
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=9)
    repetitions = parser.parse_args().repetitions
    whole = state()
    every = tensors(whole)
    size = sum(t.numel() * t.element_size() for t in every) / 2**20
    copied, blocked, saved = [], [], []
    with tempfile.TemporaryDirectory() as directory:
        folder, thread = CheckpointFolder(Path(directory)), SaveThread(Bookkeeping())
        for _ in range(repetitions):
            give_memory_back()
            begun = perf_counter()
            copies = [t.detach().clone() for t in every]
            copied.append(perf_counter() - begun)
            del copies
            give_memory_back()
            begun = perf_counter()
            taken = snapshot(whole)
            thread.start("last.pt", lambda taken=taken: folder.save(taken, last=True))
            blocked.append(perf_counter() - begun)
            thread.wait()
            saved.append(perf_counter() - begun)
            del taken
    least = median(copied)
    print(f"state of {size:.0f} MiB in {len(every)} tensors, {repetitions} repetitions, medians")
    for what, seconds in (
        ("one copy in memory", copied),
        ("blocked by a checkpoint", blocked),
        ("until it is on the disk", saved),
    ):
        middle = median(seconds)
        print(f"  {what:<26}{1000 * middle:8.1f} ms{middle / least:8.2f}")


if __name__ == "__main__":
    main()
