import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import SGD, Adam

from trainkit.schedules import (
    Schedule,
    as_schedule,
    constant,
    cosine,
    multi_step,
    one_cycle,
    reduce_on_plateau,
    step,
)


def sgd(lr: float = 1.0, **options: Any) -> SGD:
    return SGD([torch.zeros(1, requires_grad=True)], lr=lr, **options)


def rates(
    make: Callable[[SGD], Schedule],
    iterations: int,
    per_epoch: int = 1000,
    values: Callable[[int], float] | None = None,
) -> list[float]:
    """The learning rate that each optimizer step used."""
    optimizer = sgd()
    schedule = make(optimizer)
    used = []
    for i in range(1, iterations + 1):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.after_iteration()
        if i % per_epoch == 0:
            schedule.after_epoch()
            if values is not None:
                schedule.after_evaluation(values(i // per_epoch))
    return used


def test_constant_with_warmup() -> None:
    expected = [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert rates(lambda o: constant(o, warmup_iterations=3), 6, per_epoch=2) == expected


def test_cosine_falls_from_the_peak_to_the_minimum() -> None:
    found = rates(lambda o: cosine(o, 10, minimum=0.1, warmup_iterations=2), 14)
    expected = [1 / 3, 2 / 3]
    expected += [0.1 + 0.9 * (1 + math.cos(math.pi * i / 8)) / 2 for i in range(8)]
    expected += [0.1] * 4  # beyond its end it stays
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("per", ["epoch", "iteration"])
def test_step_and_multi_step(per: str) -> None:
    per_epoch = 2 if per == "epoch" else 1000
    found = rates(lambda o: step(o, 2, 0.5, per=per), 12, per_epoch)
    unit = 2 if per == "epoch" else 1
    assert found == [0.5 ** (i // (2 * unit)) for i in range(12)]
    found = rates(lambda o: multi_step(o, [1, 3], 0.1, per=per), 10, per_epoch)
    assert found == pytest.approx(
        [0.1 ** sum(i // unit >= m for m in (1, 3)) for i in range(10)], rel=1e-12
    )


def test_warmup_over_an_epoch_boundary() -> None:
    found = rates(lambda o: step(o, 1, 0.5, warmup_iterations=3), 6, per_epoch=2)
    assert found == [0.25, 0.5, 0.75 * 0.5, 0.5, 0.25, 0.25]


def test_one_cycle_peaks_at_the_learning_rate_and_ends_at_the_last_step() -> None:
    found = rates(lambda o: one_cycle(o, 20, rise=0.25, start_factor=0.1, end_factor=0.01), 25)
    assert found[0] == pytest.approx(0.1)
    assert max(found) == pytest.approx(1.0)
    assert found.index(max(found)) == 4  # 0.25 · 20 − 1
    assert found[19] == pytest.approx(0.01)
    assert found[20:] == pytest.approx([0.01] * 5)


def test_one_cycle_leaves_plain_sgd_without_momentum() -> None:
    plain, heavy = sgd(), sgd(momentum=0.9)
    one_cycle(plain, 10)
    one_cycle(heavy, 10)
    assert plain.param_groups[0]["momentum"] == 0
    assert heavy.param_groups[0]["momentum"] == 0.95


def test_plateau_waits_for_patience_and_moves_on_values_only() -> None:
    values = {1: 1.0, 2: 0.5, 3: 0.5, 4: 0.5, 5: float("nan")}
    found = rates(
        lambda o: reduce_on_plateau(o, 0.1, patience=1),
        12,
        per_epoch=2,
        values=lambda e: values.get(e, 0.4),
    )
    assert found == pytest.approx([1] * 8 + [0.1] * 4)


def test_torchs_own_schedulers_are_taken() -> None:
    make = torch.optim.lr_scheduler
    assert as_schedule(make.ExponentialLR(sgd(), 0.5)).moves == "epoch"
    assert as_schedule(make.ReduceLROnPlateau(sgd())).moves == "plateau"
    assert as_schedule(make.OneCycleLR(sgd(momentum=0.9), 0.1, 10)).moves == "iteration"
    with pytest.raises(TypeError, match="scheduler"):
        as_schedule(3)


@pytest.mark.parametrize(
    "make",
    [
        lambda o: step(o, 0),
        lambda o: step(o, 1, gamma=0),
        lambda o: step(o, 1, per="batch"),
        lambda o: multi_step(o, []),
        lambda o: multi_step(o, [3, 3]),
        lambda o: cosine(o, 10, minimum=-1),
        lambda o: cosine(o, 10, warmup_iterations=10),
        lambda o: one_cycle(o, 10, rise=1.0),
        lambda o: one_cycle(o, 10, start_factor=0),
        lambda o: one_cycle(o, 10, end_factor=0.5),
        lambda o: reduce_on_plateau(o, factor=1.0),
        lambda o: reduce_on_plateau(o, patience=-1),
        lambda o: reduce_on_plateau(o, mode="least"),
        lambda o: constant(o, warmup_iterations=-1),
    ],
)
def test_values_out_of_range(make: Callable[[SGD], Schedule]) -> None:
    with pytest.raises(ValueError, match="scheduler"):
        make(sgd())


@pytest.mark.parametrize(
    "make",
    [
        lambda o: constant(o, 5),
        lambda o: step(o, 1, 0.5, warmup_iterations=5),
        lambda o: multi_step(o, [1, 2]),
        lambda o: cosine(o, 12, warmup_iterations=3),
        lambda o: one_cycle(o, 12),
        lambda o: reduce_on_plateau(o, patience=0, warmup_iterations=5),
    ],
)
@pytest.mark.parametrize("cut", [2, 7])
def test_goes_on_from_a_saved_state(
    make: Callable[[Any], Schedule], cut: int, tmp_path: Path
) -> None:
    def drive(optimizer: Adam, schedule: Schedule, start: int, stop: int) -> list[float]:
        used = []
        for i in range(start, stop):
            used.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.after_iteration()
            if i % 3 == 2:
                schedule.after_epoch()
                schedule.after_evaluation(1.0)
        return used

    def fresh() -> tuple[Adam, Schedule]:
        optimizer = Adam([torch.zeros(1, requires_grad=True)], lr=0.3)
        return optimizer, make(optimizer)

    whole = drive(*fresh(), 0, 12)
    optimizer, schedule = fresh()
    before = drive(optimizer, schedule, 0, cut)
    torch.save([optimizer.state_dict(), schedule.state_dict()], tmp_path / "s.pt")
    optimizer, schedule = fresh()
    saved = torch.load(tmp_path / "s.pt", weights_only=True)
    optimizer.load_state_dict(saved[0])
    schedule.load_state_dict(saved[1])
    assert before + drive(optimizer, schedule, cut, 12) == whole


def test_a_tensor_learning_rate_stays_the_same_tensor() -> None:
    lr = torch.tensor(1.0)
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    schedule = step(optimizer, 1, 0.5, warmup_iterations=1)
    seen = []
    for _ in range(3):
        seen.append(lr.item())
        optimizer.step()
        schedule.after_iteration()
        schedule.after_epoch()
    assert optimizer.param_groups[0]["lr"] is lr
    assert seen == [0.5, 0.5, 0.25]
