"""An epoch over tensors in memory: `Batches` beside `DataLoader` over `TensorDataset`.

100,000 rows of 64 floats with one target each, in batches of 64. Medians over interleaved
repetitions; exit status 1 if `Batches` takes a fifth of the `DataLoader`'s time or more.

    python benchmarks/data.py
"""

import sys
from collections.abc import Iterable
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

from trainkit.data import Batches

ROWS, COLUMNS, BATCH_SIZE, REPETITIONS = 100_000, 64, 64, 7
GOAL = 0.2


def seconds(batches: Iterable[Any]) -> float:
    """What one pass takes; every batch is made, none is used."""
    start = perf_counter()
    for _ in batches:
        pass
    return perf_counter() - start


def main() -> int:
    """Measure, print the table, say whether the goal is met."""
    x, y = torch.randn(ROWS, COLUMNS), torch.randint(10, (ROWS,))
    pairs = {
        order: (
            Batches(x, y, batch_size=BATCH_SIZE, shuffle=shuffle),
            DataLoader(TensorDataset(x, y), batch_size=BATCH_SIZE, shuffle=shuffle),
        )
        for order, shuffle in (("shuffled", True), ("in order", False))
    }
    print(f"one epoch, {ROWS:,} rows of {COLUMNS} floats, batches of {BATCH_SIZE}")
    print(f"{'':10} {'Batches':>10} {'DataLoader':>12} {'ratio':>8}   goal < {GOAL}")
    worst = 0.0
    for order, pair in pairs.items():
        times = [[seconds(batches) for batches in pair] for _ in range(REPETITIONS)]
        ours, theirs = (median(column) for column in zip(*times, strict=True))
        print(f"{order:10} {ours * 1e3:7.1f} ms {theirs * 1e3:9.1f} ms {ours / theirs:8.3f}")
        worst = max(worst, ours / theirs)
    return int(worst >= GOAL)


if __name__ == "__main__":
    sys.exit(main())
