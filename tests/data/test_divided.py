"""A user's loaders in two processes: who gets which samples, and what is said."""

import multiprocessing
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, TensorDataset

from trainkit.data import Batches, Data
from trainkit.data.divided import divided
from trainkit.settings import TrainerSettings
from trainkit.training import run
from trainkit.training.evaluating import in_order
from trainkit.training.source import TrainingSource

SAMPLES = 11


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(range(4))


def _in_a_process(rank: int, folder: str) -> dict[str, Any]:
    idist.initialize("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    numbers = TensorDataset(torch.arange(SAMPLES))
    found: dict[str, Any] = {}
    data = Data(
        DataLoader(numbers, batch_size=2, shuffle=True),
        DataLoader(numbers, batch_size=3),
        [torch.arange(3)],
    )
    data, found["notes"] = divided(data, seed=3)
    source = iter(source_of := TrainingSource(data.train))
    found["epochs"] = [
        [i for _ in range(len(source_of)) for i in next(source)[0].tolist()] for _ in range(2)
    ]
    assert data.validation is not None
    found["validation"] = [i for (x,) in data.validation for i in x.tolist()]
    found["train in order"] = [i for (x,) in in_order(data.train) for i in x.tolist()]
    own = RandomSampler(numbers, replacement=True, num_samples=5)
    streams = Data(DataLoader(numbers, batch_size=2, sampler=own), DataLoader(Stream()))
    same, found["own"] = divided(streams, seed=3)
    found["unchanged"] = same.train is streams.train and same.validation is streams.validation
    found["stream in order"] = len(list(in_order(streams.validation)))
    x = torch.ones(33, 2)
    try:
        run(
            model=torch.nn.Linear(2, 1), data=Data(Batches(x, x[:, :1], batch_size=16)),
            loss=torch.nn.MSELoss(), optimizer=partial(torch.optim.SGD, lr=0.1),
            directory=f"{folder}/r",
            trainer=TrainerSettings(epochs=1, device="cpu", progress_bar=False),
        )  # fmt: skip
    except (ValueError, TypeError) as error:
        found["refused"] = str(error)
    idist.finalize()
    return found


@pytest.mark.slow
def test_two_processes(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        one, two = pool.starmap(
            _in_a_process, [(rank, str(tmp_path)) for rank in range(2)], chunksize=1
        )
    for a, b in zip(one["epochs"], two["epochs"], strict=True):
        counted = Counter(a + b)
        assert set(counted) == set(range(SAMPLES))
        assert sorted(counted.values())[-2:] == [1, 2], "the odd one comes twice"
    assert one["epochs"][0] != one["epochs"][1], "another order in each epoch"
    for part in ("validation", "train in order"):
        assert one[part] + two[part] == list(range(SAMPLES))
    assert one["notes"] == [
        "data.train is divided among 2 processes, with a DistributedSampler",
        "data.validation is divided among 2 processes, with a block of samples for each",
        "data.test: list is not divided among the 2 processes: it must give each its own samples "
        "(idist.get_rank())",
    ]
    assert "data.train has a sampler of its own (RandomSampler)" in one["own"][0]
    assert "data.validation is a stream" in one["own"][1]
    assert one["unchanged"]
    assert one["stream in order"] == 4
    for each in (one, two):
        assert "the length of an epoch of data.train is 1 in process 0 and 2 in" in each["refused"]
    assert not (tmp_path / "r").exists()
