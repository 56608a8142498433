"""Data are what they say: as many batches as their length, and an end that is no accident."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from tests.training.parts import blobs, cases, go, network, weights
from trainkit.data import Batches, Data, EndedEarlyError, ended_early
from trainkit.engines import supervised_evaluator, supervised_trainer
from trainkit.rundir import read_status
from trainkit.settings import TrainerSettings
from trainkit.training.source import OnePass, TrainingSource


class Says:
    """Batches that say one length and have another."""

    def __init__(self, says: int, has: int) -> None:
        self.says, self.has = says, has
        self.begun: list[int] = []

    def __len__(self) -> int:
        return self.says

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for i in range(self.has):
            self.begun.append(i)
            yield cases(16, i)


class Rows(Dataset[tuple[Tensor, Tensor]]):
    """128 rows, one of which raises."""

    def __init__(self, bad: int, error: type[Exception] = StopIteration) -> None:
        self.x, self.y = cases(128, 1)
        self.bad, self.error = bad, error

    def __len__(self) -> int:
        return 128

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if index == self.bad:
            raise self.error
        return self.x[index], self.y[index]


class Stream(IterableDataset[tuple[Tensor, Tensor]]):
    """Rows without a length; perhaps without an end."""

    def __init__(self, rows: int | None) -> None:
        self.rows = rows
        self.passes = 0

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        x, y = cases(64, 1)
        self.passes += 1
        i = 0
        while self.rows is None or i < self.rows:
            yield x[i % 64], y[i % 64]
            i += 1


def stopping_generator() -> Iterator[tuple[Tensor, Tensor]]:
    for i in range(8):
        if i == 5:
            next(iter(()))
        yield cases(16, i)


class Generated(Says):
    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return stopping_generator()


def trained(tmp_path: Path, train: Any, **trainer: Any) -> Any:
    settings = TrainerSettings(**{"epochs": 2, "progress_bar": False} | trainer)
    return go(tmp_path / "r", data=Data(train, blobs().validation), trainer=settings)


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (Says(8, 4), r"data.train ended after batch 4 of 8: it must give as many batches as"),
        (
            DataLoader(Rows(70), batch_size=16),
            r"data.train: item 70 \(Rows.__getitem__, .*test_source.py:\d+\) raised StopIteration "
            r"in batch 5 of 8",
        ),
        (
            DataLoader(Rows(70), batch_size=16, num_workers=1),
            r"data.train: an item in worker 0 \(File .*, in __getitem__\) raised StopIteration in "
            r"batch 5 of 8",
        ),
        (
            Generated(8, 8),
            r"data.train: an item \(stopping_generator, .*\) raised StopIteration in batch 6 of 8",
        ),
        (Says(8, 0), r"data.train gave no batch of 8: it is empty"),
    ],
)
def test_data_that_end_early_end_the_run(train: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(EndedEarlyError, match=message):
        trained(tmp_path, train)
    assert read_status(tmp_path / "r" / "run.json")["status"] == "failed"


def test_an_evaluation_too(tmp_path: Path) -> None:
    data = Data(blobs().train, validation=Says(8, 4))
    with pytest.raises(EndedEarlyError, match=r"data.validation ended after batch 4 of 8"):
        go(tmp_path / "r", data=data)


@pytest.mark.parametrize("workers", [0, 1])
def test_the_engines_by_themselves(workers: int) -> None:
    model = network()
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    loss_fn = nn.CrossEntropyLoss()
    loader = DataLoader(Rows(70), batch_size=16, num_workers=workers)
    for make in (
        lambda: supervised_trainer(model, sgd, loss_fn, device="cpu"),
        lambda: supervised_evaluator(model, loss_fn, device="cpu"),
    ):
        with pytest.raises(EndedEarlyError, match="the data ended after batch 4 of 8"):
            make().run(Says(8, 4))
        with pytest.raises(EndedEarlyError, match=r"item .*raised StopIteration in batch 5 of 8"):
            make().run(loader)
    trainer = make()
    # Epochs of another length than the data are no matter of the data.
    assert trainer.run(Says(4, 4), max_epochs=3, epoch_length=6).iteration == 18
    assert trainer.run(Says(6, 6), max_epochs=3, epoch_length=4).iteration == 12


def test_what_is_more_than_it_says_is_cut_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train = Says(4, 6)
    with caplog.at_level(logging.WARNING):
        result = trained(tmp_path, train, epochs=3, evaluate_train=False)
    assert result.iterations == 12
    # Three passes from their beginning; behind each comes a look whether there is more.
    assert train.begun == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3]
    lines = [r.getMessage() for r in caplog.records if "more batches" in r.getMessage()]
    assert lines == [
        "data.train gives more batches than its length, 4, says: the rest of each pass is left out"
    ]


def test_data_without_a_length_go_on_across_epochs_and_start_again(tmp_path: Path) -> None:
    stream = Stream(rows=160)
    result = trained(tmp_path, DataLoader(stream, batch_size=16), epochs=5, epoch_length=6)
    assert (result.iterations, result.epochs) == (30, 5)
    assert stream.passes == 3  # of 10 batches each
    assert set(result.last) == {"validation"}


def test_data_without_an_end(tmp_path: Path) -> None:
    result = trained(tmp_path, DataLoader(Stream(None), batch_size=16), epochs=2, epoch_length=7)
    assert result.iterations == 14


def test_without_an_epoch_length_they_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data.train has no length \(DataLoader\): set trainer"):
        trained(tmp_path, DataLoader(Stream(None), batch_size=16))
    assert not (tmp_path / "r").exists()


def test_an_iterator_that_is_used_up(tmp_path: Path) -> None:
    with pytest.raises(EndedEarlyError, match=r"data.train gave no batch: it is empty, or an iter"):
        trained(tmp_path, (cases(16, i) for i in range(10)), epoch_length=6)


def test_validation_without_a_length_ends_where_it_ends(tmp_path: Path) -> None:
    data = blobs()
    x, y = cases(50, 2)

    class Unsized:
        def __iter__(self) -> Iterator[Any]:
            return iter([(x[:30], y[:30]), (x[30:], y[30:])])

    result = go(tmp_path / "a", data=Data(data.train, Unsized()))
    same = go(tmp_path / "b", data=Data(blobs().train, [(x, y)]))
    assert result.last["validation"] == pytest.approx(same.last["validation"], rel=1e-5)
    with pytest.raises(TypeError, match=r"data.validation must be batches that can be iterated mo"):
        Data(data.train, iter([(x, y)]))


def test_an_epoch_length_of_ones_own(tmp_path: Path) -> None:
    # 7 batches a pass: 21 iterations are the same three passes, whatever an epoch is called.
    one = trained(tmp_path / "1", blobs().train, epochs=3)
    two = trained(tmp_path / "2", blobs().train, epochs=7, epoch_length=3)
    assert (one.iterations, two.iterations, two.epochs) == (21, 21, 7)
    assert torch.equal(weights(one), weights(two))


def test_set_epoch_is_called_once_for_each_pass() -> None:
    batches = Batches(torch.arange(12), batch_size=4, shuffle=True, seed=3)
    stream = iter(TrainingSource(batches))
    for epoch in range(3):
        rows = torch.cat([next(stream)[0] for _ in range(3)])
        assert torch.equal(rows, batches.order(epoch))


def test_what_else_the_data_have_is_there() -> None:
    loader = DataLoader(TensorDataset(torch.zeros(4)), batch_size=2)
    assert OnePass(loader, "data.test").dataset is loader.dataset
    assert len(TrainingSource(loader)) == 2


def test_messages_without_a_place() -> None:
    assert "ended after batch 3" in str(ended_early("x", 3, None, StopIteration()))
    assert str(ended_early("x", 0, 2, None)).startswith("x gave no batch of 2")
