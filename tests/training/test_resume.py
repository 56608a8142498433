"""A run that was interrupted and resumed is, bit for bit, the run that never was."""

import random
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.handlers import EMAHandler
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from tests.training.parts import FULL, blobs, cases, network
from tests.training.resuming import check_same, interrupted, made, resumable, stop_at
from trainkit import schedules
from trainkit.data import Data
from trainkit.rundir import Interrupted, read_history, read_status
from trainkit.settings import MonitorSettings, TrainerSettings
from trainkit.training import early_stopping

WATCHED = MonitorSettings(every=2, histograms_every=5)


def settings(epochs: int = 3, **changes: Any) -> TrainerSettings:
    return TrainerSettings(epochs=epochs, progress_bar=False, device="cpu", **changes)


def first_in_short(cases: Iterable[Any]) -> list[Any]:
    """The first in every test run, the others where there is more time."""
    first, *others = cases
    return [first, *(pytest.param(each, marks=pytest.mark.long) for each in others)]


def check(tmp_path: Path, iteration: int, **changes: Any) -> None:
    go = resumable(**{"monitor": WATCHED, "trainer": settings()} | changes)
    go(tmp_path / "whole")
    interrupted(go, tmp_path / "parts", iteration)
    go(tmp_path / "parts", resume=True)
    check_same(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("iteration", [1, 6, 7, 8, 13, 20])
def test_resumed_at(tmp_path: Path, iteration: int) -> None:
    """7 and 14 are ends of epochs: there an evaluation is interrupted, and begun again."""
    check(tmp_path, iteration, monitor=FULL)


def test_interrupted_again_and_again(tmp_path: Path) -> None:
    go = resumable(monitor=WATCHED, trainer=settings())
    go(tmp_path / "whole")
    interrupted(go, tmp_path / "parts", 3)
    resumed = partial(go, resume=True)
    for iteration in (4, 9, 14, 20):
        interrupted(resumed, tmp_path / "parts", iteration)
    go(tmp_path / "parts", resume=True)
    check_same(tmp_path / "whole", tmp_path / "parts")


class Noisy(Dataset[Any]):
    """Items that draw from every global generator when they are made."""

    def __init__(self, n: int, seed: int) -> None:
        self.x, self.y = cases(n, seed)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        noise = torch.rand(4) + float(np.random.rand()) + random.random()
        return self.x[i] + 0.1 * noise, self.y[i]


class Stream(IterableDataset[Any]):
    """Batches in an order that each pass draws anew."""

    def __iter__(self) -> Iterator[Any]:
        x, y = cases(104, 1)
        yield from zip(*(t[torch.randperm(104)] for t in (x, y)), strict=True)


class Stateful:
    """A source with torchdata's protocol: it knows its place."""

    def __init__(self) -> None:
        self.x, self.y = cases(104, 1)
        self.order, self.next = torch.arange(0), 0

    def __len__(self) -> int:
        return 13

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        if self.next in (0, 13):
            self.order, self.next = torch.randperm(104), 0
        while self.next < 13:
            rows = self.order[8 * self.next : 8 * self.next + 8]
            self.next += 1
            yield self.x[rows], self.y[rows]

    def state_dict(self) -> dict[str, Any]:
        return {"order": self.order.clone(), "next": self.next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.order, self.next = state["order"], state["next"]


def validation() -> DataLoader[Any]:
    return DataLoader(TensorDataset(*cases(50, 2)), batch_size=25, shuffle=True)


def loader(**changes: Any) -> Data:
    given = {"batch_size": 16, "shuffle": True} | changes
    return Data(DataLoader(given.pop("dataset", Noisy(104, 1)), **given), validation())


def with_generators() -> Data:
    generator = torch.Generator().manual_seed(3)
    held_out = DataLoader(
        TensorDataset(*cases(50, 2)), batch_size=25, shuffle=True,
        generator=torch.Generator().manual_seed(4),
    )  # fmt: skip
    return Data(DataLoader(Noisy(104, 1), 16, shuffle=True, generator=generator), held_out)


SOURCES: dict[str, Callable[[], Data]] = {
    "batches": blobs,
    "loader": loader,
    "workers": partial(loader, num_workers=2),
    "generators": with_generators,
    "stateful": lambda: Data(Stateful(), validation()),
    "list": lambda: Data(list(zip(*(t.split(8) for t in cases(104, 1)), strict=True))),
    "stream": partial(loader, dataset=Stream(), shuffle=False),
}


OFTEN = ("loader", "workers", "stateful")


@pytest.mark.parametrize("iteration", [pytest.param(3, marks=pytest.mark.long), 10])
@pytest.mark.parametrize("source", SOURCES)
def test_sources(tmp_path: Path, source: str, iteration: int) -> None:
    """In the middle of the first epoch, and of the second."""
    trainer = settings(epoch_length=7, evaluate_train=False)
    check(tmp_path, iteration, data=made(SOURCES[source]), trainer=trainer)


def test_a_pass_that_is_no_epoch(tmp_path: Path) -> None:
    """Passes of 7 batches in epochs of 4: an epoch ends in the middle of a pass."""
    trainer = settings(epochs=5, epoch_length=4)
    check(tmp_path, 8, data=made(loader), trainer=trainer)


def test_persistent_workers_are_said_to_be_inexact(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = made(partial(loader, num_workers=1, persistent_workers=True))
    go = resumable(data=data, trainer=settings())
    interrupted(go, tmp_path, 10)
    caplog.clear()
    go(tmp_path, resume=True)
    assert "persistent_workers=False makes them so" in caplog.text


SCHEDULES = {
    "cosine": partial(schedules.cosine, warmup_iterations=4),
    "one_cycle": partial(schedules.one_cycle),
    "step": partial(schedules.step, step_size=1, gamma=0.5),
    "multi_step": partial(schedules.multi_step, milestones=[4, 9], per="iteration"),
    "plateau": partial(schedules.reduce_on_plateau, patience=0, threshold=0.2),
    "torch": partial(torch.optim.lr_scheduler.CyclicLR, base_lr=0.01, max_lr=0.2, step_size_up=3),
}


@pytest.mark.parametrize("name", first_in_short(SCHEDULES))
def test_schedules(tmp_path: Path, name: str) -> None:
    check(tmp_path, 9, scheduler=SCHEDULES[name])


OPTIMIZERS = {
    "adam": partial(torch.optim.Adam, lr=0.01),
    "rmsprop": partial(torch.optim.RMSprop, lr=0.01, momentum=0.5),
    "adagrad": partial(torch.optim.Adagrad, lr=0.05),
    "adamax": partial(torch.optim.Adamax, lr=0.01),
    "asgd": partial(torch.optim.ASGD, lr=0.05, t0=4),
}


@pytest.mark.parametrize("name", first_in_short(OPTIMIZERS))
def test_optimizers(tmp_path: Path, name: str) -> None:
    check(tmp_path, 9, optimizer=OPTIMIZERS[name])


@pytest.mark.parametrize("iteration", first_in_short([2, 1, 3, 9]))
def test_in_the_middle_of_an_accumulation(tmp_path: Path, iteration: int) -> None:
    """Also of a sample that waits for the step: those of iterations 1, 3, 6 and 9 do."""
    check(tmp_path, iteration, monitor=MonitorSettings(every=3, histograms_every=6),
          trainer=settings(accumulation_steps=4, clip_grad_norm=0.5))  # fmt: skip


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_mixed_precision(tmp_path: Path, amp: str) -> None:
    check(tmp_path, 9, trainer=settings(amp=amp))


@pytest.mark.parametrize("iteration", first_in_short([3, 4, 6]))
def test_evaluations_within_epochs(tmp_path: Path, iteration: int) -> None:
    check(tmp_path, iteration, trainer=settings(evaluate_every=3))


class Odd(nn.Module):
    """Weights that are tied, one that is frozen, and a buffer that no `state_dict` holds."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.second.weight = self.first.weight
        self.last.bias.requires_grad_(False)
        self.register_buffer("steps", torch.zeros(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.steps += 1
        y: Tensor = self.last(self.second(self.first(x).relu())) * (1 + self.steps / 100)
        return y


def test_what_no_state_dict_holds(tmp_path: Path) -> None:
    check(tmp_path, 9, model=partial(Odd))


def averaged() -> Any:
    def average(model: nn.Module) -> EMAHandler:
        return EMAHandler(model, momentum=0.1)

    return {"average": average, "early_stopping": partial(early_stopping, patience=1)}


def test_handlers(tmp_path: Path) -> None:
    """An average of the weights, and a count of evaluations."""
    check(tmp_path, 9, handlers=made(averaged), optimizer=partial(torch.optim.SGD, lr=3.0),
          trainer=settings(epochs=8))  # fmt: skip


def test_compiled(tmp_path: Path) -> None:
    check(tmp_path, 9, model=partial(network, 0.5), trainer=settings(compile=True))


@pytest.mark.parametrize("iteration", range(1, 15))
@pytest.mark.parametrize(
    "source",
    [
        pytest.param(name, marks=pytest.mark.long if name in OFTEN else pytest.mark.torture)
        for name in SOURCES
    ],
)
def test_every_iteration_of_two_epochs(tmp_path: Path, source: str, iteration: int) -> None:
    """With everything at once: dropout, schedule, accumulation, an average of the weights."""
    check(
        tmp_path,
        iteration,
        data=made(SOURCES[source]),
        scheduler=SCHEDULES["cosine"],
        optimizer=OPTIMIZERS["adam"],
        handlers=made(averaged),
        monitor=MonitorSettings(every=2, histograms_every=4),
        trainer=settings(epochs=3, epoch_length=7, accumulation_steps=3, evaluate_train=False),
    )


def test_the_row_and_the_times_are_those_of_the_whole_run(tmp_path: Path) -> None:
    go = resumable(monitor=WATCHED, trainer=settings(epochs=4))
    interrupted(go, tmp_path, 10)
    before = read_status(tmp_path / "run.json")
    row = session(tmp_path / "results")
    result = go(tmp_path, resume=True)
    status = read_status(tmp_path / "run.json")
    assert (status["started"], status["run"]) == (before["started"], before["run"])
    assert result.seconds > before["seconds"] > 0
    assert status["resumed"][0]["was"] == "interrupted"
    assert set(result.saved) == {"last", "best"}
    assert session(tmp_path / "results") == row, "one row, with the start of the run"
    times = [row["seconds"] or 0 for row in read_history(tmp_path / "history.csv")]
    assert times == sorted(times)
    assert len(times) == 4


def session(folder: Path) -> list[float]:
    """The start of each session in the folder of a row."""
    events = EventAccumulator(str(folder)).Reload()
    metadata = events.summary_metadata["_hparams_/session_start_info"]
    content = HParamsPluginData.FromString(metadata.plugin_data.content)
    assert len(list(folder.glob("*tfevents*"))) == 1
    return [content.session_start_info.start_time_secs]


def test_checkpoints_of_before_are_in_the_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    go = resumable(monitor=WATCHED, trainer=settings(epochs=4))
    interrupted(go, tmp_path, 10)
    with pytest.raises(Interrupted):
        go(tmp_path, stop_at(11), resume=True)
    assert "best.pt (iteration 7), last.pt (iteration 11)" in capsys.readouterr().out
