"""Flowers: a picture and four measurements in, the kind and the length of the petals out."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trainkit.data import Data, split

Batch = dict[str, Tensor]


class Flowers(nn.Module):
    """Two inputs, two heads."""

    def __init__(self, kinds: int = 3, width: int = 32) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU())
        self.measurements = nn.Sequential(nn.Linear(4, width), nn.ReLU())
        self.kind = nn.Linear(2 * width, kinds)
        self.length = nn.Linear(2 * width, 1)

    def forward(self, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Logits of the kinds, and the length."""
        both = torch.cat([self.image(x["image"]), self.measurements(x["measurements"])], 1)
        return {"kind": self.kind(both), "length": self.length(both)}


class DictBatches:
    """Batches that are dicts, in an order of their own in every pass."""

    def __init__(
        self, rows: Batch, batch_size: int, *, shuffle: bool = False, seed: int = 0
    ) -> None:
        self.rows = rows
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.generator = torch.Generator().manual_seed(seed)
        self.samples = len(rows["kind"])

    def __len__(self) -> int:
        """Batches of a pass."""
        return -(-self.samples // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """One pass."""
        order = torch.arange(self.samples)
        if self.shuffle:
            order = torch.randperm(self.samples, generator=self.generator)
        for rows in order.split(self.batch_size):
            yield {name: column[rows] for name, column in self.rows.items()}

    def in_order(self) -> "DictBatches":
        """The same for evaluation; `run` evaluates the training data on it."""
        return DictBatches(self.rows, self.batch_size)


def flowers(samples: int = 600, batch_size: int = 32, seed: int = 0) -> Data:
    """Made up: the kind shows in the picture, the length in the measurements and the kind."""
    g = torch.Generator().manual_seed(1)
    kind = torch.randint(0, 3, (samples,), generator=g)
    prototypes = torch.randn(3, 1, 8, 8, generator=g)
    measurements = torch.randn(samples, 4, generator=g)
    rows = {
        "image": prototypes[kind] + torch.randn(samples, 1, 8, 8, generator=g),
        "measurements": measurements,
        "kind": kind,
        "length": measurements[:, 0] + kind + 0.1 * torch.randn(samples, generator=g),
    }
    train, validation, test = (
        {name: column[chosen] for name, column in rows.items()}
        for chosen in split(samples, 0.2, 0.2, 0, kind)
    )
    return Data(
        train=DictBatches(train, batch_size, shuffle=True, seed=seed),
        validation=DictBatches(validation, batch_size),
        test=DictBatches(test, batch_size),
        classes=("daisy", "rose", "tulip"),
    )


def prepare_batch(batch: Batch, device: torch.device) -> tuple[Any, Any]:
    """The pair that the engine wants: what the model takes, and what the loss compares with."""
    moved = {name: column.to(device, non_blocking=True) for name, column in batch.items()}
    x = {name: moved[name] for name in ("image", "measurements")}
    y = {name: moved[name] for name in ("kind", "length")}
    return x, y
