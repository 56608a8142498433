"""Batches of tensors in memory, without collating single samples."""

from collections.abc import Iterator

import ignite.distributed as idist
import torch
from torch import Tensor

__all__ = ["Batches", "part"]


class Batches:
    """Batches of tensors in memory: one indexed read per tensor and batch.

    The order of a pass is a function of `(seed, epoch)` alone, drawn from a generator of its
    own: the global random state is neither used nor changed. Each pass counts the epoch up by
    one; `set_epoch` says which one comes next.

    In several processes (`ignite.distributed`) each takes its own share of the rows. When
    shuffled, batch i of all processes together is batch i of one process with batches so many
    times as large; where the rows of the last one do not go round, the first rows of the order
    come a second time (or, with `drop_last`, that batch not at all). In order, each takes a
    contiguous block, and every row comes exactly once.

    Without `shuffle` a batch is a view: writing into it in place changes the data.

    Args:
        *tensors: All of the same first dimension, the samples. Overlapping views are fine.
        batch_size: Samples per batch, in this process.
        shuffle: Another order in every epoch.
        seed: Of the orders.
        drop_last: Leave out a last batch that is not full.
        device: Where the tensors are kept: they are moved there once, here. None: where they are.

    Raises:
        TypeError: Something is not a tensor, or `batch_size` or `seed` is not an integer.
        ValueError: No tensors, no samples, unequal lengths, several devices, `batch_size` or
            `seed` out of range, or `drop_last` leaves no batch.

    Cost: shuffled, one permutation per epoch and one gather per tensor and batch; in order, a
    slice.

    Example:
        >>> batches = Batches(torch.arange(5), torch.arange(5) ** 2, batch_size=2)
        >>> [(x.tolist(), y.tolist()) for x, y in batches]
        [([0, 1], [0, 1]), ([2, 3], [4, 9]), ([4], [16])]
    """

    def __init__(
        self,
        *tensors: Tensor,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
        device: str | torch.device | None = None,
    ) -> None:
        _check_tensors(tensors)
        _check_integer("data.batch_size", batch_size, 1)
        _check_integer("data.seed", seed, 0)
        self.samples = len(tensors[0])
        if drop_last and self.samples < batch_size:
            raise ValueError(
                f"drop_last leaves no batch: {self.samples} samples do not fill one batch of "
                f"data.batch_size={batch_size}"
            )
        self.tensors = tuple(t if device is None else t.to(device) for t in tensors)
        devices = [str(tensor.device) for tensor in self.tensors]
        if len(set(devices)) > 1:
            raise ValueError(f"the tensors must be on one device, got {', '.join(devices)}")
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        self.epoch = 0
        self._skip = 0

    def set_epoch(self, epoch: int, skip: int = 0) -> None:
        """Make the next pass that of `epoch`, without its first `skip` batches.

        Raises:
            ValueError: A negative epoch, or `skip` is not a number of batches of one pass.
        """
        _check_integer("epoch", epoch, 0)
        if not 0 <= skip <= len(self):
            raise ValueError(f"skip must be a number of batches from 0 to {len(self)}, got {skip}")
        self.epoch, self._skip = epoch, skip

    def in_order(self) -> "Batches":
        """The same samples in their own order and to the last one, for evaluation."""
        return Batches(*self.tensors, batch_size=self.batch_size, seed=self.seed)

    def __len__(self) -> int:
        """Number of batches in a pass of this process."""
        world = self._world()
        if self.shuffle:
            span = world * self.batch_size
            return self.samples // span if self.drop_last else -(-self.samples // span)
        start, stop = self._block()
        rows = stop - start
        return rows // self.batch_size if self.drop_last else -(-rows // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        """The pass of the epoch at hand; the next one will be that of the epoch after."""
        epoch, skip = self.epoch, self._skip
        self.epoch, self._skip = epoch + 1, 0
        return self._shuffled(epoch, skip) if self.shuffle else self._in_order(skip)

    def order(self, epoch: int) -> Tensor:
        """Which samples the shuffled pass of `epoch` takes, over all processes, shape `[N]`."""
        generator = torch.Generator()
        # torch seeds from 32 bits; an odd factor keeps the streams of two seeds apart.
        generator.manual_seed((self.seed * 0x9E3779B1 + epoch) & 0xFFFFFFFF)
        return torch.randperm(self.samples, generator=generator)

    def _shuffled(self, epoch: int, skip: int) -> Iterator[tuple[Tensor, ...]]:
        world, rank = self._world(), idist.get_rank()
        span = world * self.batch_size
        order = self.order(epoch)
        # Each process has as many rows of a batch, so that gradients can be averaged.
        missing = -len(order) % span % world
        if missing and not self.drop_last:
            order = torch.cat([order, order.repeat(-(-missing // len(order)))[:missing]])
        order = order.to(self.tensors[0].device)
        for batch in range(skip, len(self)):
            together = order[batch * span : (batch + 1) * span]
            each = len(together) // world
            rows = together[rank * each : (rank + 1) * each]
            yield tuple(tensor.index_select(0, rows) for tensor in self.tensors)

    def _in_order(self, skip: int) -> Iterator[tuple[Tensor, ...]]:
        start, stop = self._block()
        for batch in range(skip, len(self)):
            first = start + batch * self.batch_size
            last = min(first + self.batch_size, stop)
            yield tuple(tensor[first:last] for tensor in self.tensors)

    def _world(self) -> int:
        world = idist.get_world_size()
        if self.samples < world * (self.batch_size if self.drop_last else 1):
            raise ValueError(
                f"{self.samples} samples are too few for {world} processes with batches of "
                f"{self.batch_size}; take fewer processes"
            )
        return world

    def _block(self) -> tuple[int, int]:
        """This process's rows where they are taken in order, as from and to."""
        world, rank = self._world(), idist.get_rank()
        return self.samples * rank // world, self.samples * (rank + 1) // world


def _check_tensors(tensors: tuple[Tensor, ...]) -> None:
    if not tensors:
        raise ValueError("Batches needs at least one tensor, got none")
    for tensor in tensors:
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"Batches takes tensors, got {type(tensor).__name__}; torch.as_tensor makes one"
            )
        if tensor.ndim == 0:
            raise ValueError("Batches needs tensors with a first dimension, the samples; got 0-d")
    lengths = [len(tensor) for tensor in tensors]
    if len(set(lengths)) > 1:
        raise ValueError(f"the tensors must hold equally many samples, got {lengths}")
    if lengths[0] == 0:
        raise ValueError("the data set is empty: Batches needs at least one sample")


def _check_integer(key: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{key} must be an integer, got {value!r}")
    if value < least:
        raise ValueError(f"{key} must be {least} or more, got {value}")


def part(x: Tensor, y: Tensor, batch_size: int) -> Batches | None:
    """The batches of a part that is evaluated, in order; None where there is no sample."""
    return Batches(x, y, batch_size=batch_size) if len(x) else None
