"""A user's loaders, divided among the processes of a run."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import ignite.distributed as idist
from torch.utils.data import (
    DataLoader,
    IterableDataset,
    RandomSampler,
    Sampler,
    SequentialSampler,
)
from torch.utils.data.distributed import DistributedSampler

from trainkit.data.batches import Batches
from trainkit.data.data import Data

__all__ = ["Block", "divided"]


class Block(Sampler[int]):
    """Every sample once over all processes, for evaluation: to each a block, in order.

    Args:
        samples: How many there are.
    """

    def __init__(self, samples: int) -> None:
        world, rank = idist.get_world_size(), idist.get_rank()
        if samples < world:
            raise ValueError(f"{samples} samples are too few to be evaluated by {world} processes")
        self._block = range(samples * rank // world, samples * (rank + 1) // world)

    def __len__(self) -> int:
        """Samples of this process."""
        return len(self._block)

    def __iter__(self) -> Iterator[int]:
        """The indices of this process."""
        return iter(self._block)


def divided(data: Data, seed: int) -> tuple[Data, list[str]]:
    """Have each process take its own share of every part.

    `Batches` divide themselves. A `DataLoader` over a data set with a length is made anew: for
    training with torch's `DistributedSampler`, for evaluation with a block of the samples. What
    is divided already, or cannot be from outside, stays as it is.

    Args:
        data: Of the run.
        seed: Of the shuffling.

    Returns:
        The data, and what the user must know, a line each. In one process: unchanged, nothing.
    """
    world = idist.get_world_size()
    if world == 1:
        return data, []
    notes = []
    parts: dict[str, Any] = {}
    for name in ("train", "validation", "test"):
        part = getattr(data, name)
        if part is None or isinstance(part, Batches):
            continue
        if not isinstance(part, DataLoader):
            notes.append(
                f"data.{name}: {type(part).__name__} is not divided among the {world} processes: "
                "it must give each its own samples (idist.get_rank())"
            )
        elif isinstance(part.sampler, DistributedSampler | Block):
            continue
        elif isinstance(part.dataset, IterableDataset):
            notes.append(
                f"data.{name} is a stream, which must give each of the {world} processes its own "
                "samples (idist.get_rank())"
            )
        elif not _is_plain(part):
            notes.append(
                f"data.{name} has a sampler of its own ({_sampler(part)}), which must give each of "
                f"the {world} processes its own samples; torch's DistributedSampler does"
            )
        else:
            shuffle = isinstance(part.sampler, RandomSampler)
            parts[name] = _made_anew(part, train=name == "train", shuffle=shuffle, seed=seed)
            notes.append(
                f"data.{name} is divided among {world} processes, with "
                f"{'a DistributedSampler' if name == 'train' else 'a block of samples for each'}"
            )
    return replace(data, **parts), notes


def _made_anew(loader: DataLoader[Any], *, train: bool, shuffle: bool, seed: int) -> Any:
    dataset: Any = loader.dataset
    sampler: Sampler[int] = (
        DistributedSampler(
            dataset, idist.get_world_size(), idist.get_rank(), shuffle=shuffle, seed=seed,
            drop_last=loader.drop_last,
        )
        if train else Block(len(dataset))
    )  # fmt: skip
    return DataLoader(
        dataset,
        batch_size=loader.batch_size,
        sampler=sampler,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        drop_last=loader.drop_last,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=loader.generator,
        prefetch_factor=loader.prefetch_factor,
        persistent_workers=loader.persistent_workers,
    )


def _is_plain(loader: DataLoader[Any]) -> bool:
    """Whether a pass takes each sample once, in batches that the loader makes."""
    sampler, samples = loader.sampler, len(loader.dataset)  # type: ignore[arg-type]
    if isinstance(sampler, RandomSampler):
        plain = not sampler.replacement and sampler.num_samples == samples
    else:
        plain = isinstance(sampler, SequentialSampler)
    return plain and loader.batch_size is not None


def _sampler(loader: DataLoader[Any]) -> str:
    found = loader.batch_sampler if loader.batch_size is None else loader.sampler
    return type(found).__name__
