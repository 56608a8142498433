from itertools import pairwise

import pytest
from ignite.engine import Engine

from trainkit.handlers import budget as budget_module
from trainkit.handlers.budget import Budget, CostMonitor, Metered
from trainkit.handlers.cadence import Every
from trainkit.handlers.sampler import Sampler
from trainkit.writers import MemoryWriter


class Clock:
    """A training of which every duration is known."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(budget_module, "perf_counter", lambda: self.now)

    def train(
        self, cadence: Metered, iterations: int, cost: float, iteration: float = 1.0, start: int = 1
    ) -> list[int]:
        sampled = []
        for i in range(start, start + iterations):
            if cadence.due(i):
                sampled.append(i)
                cadence.spend(cost)
                self.now += cost
            self.now += iteration
        return sampled


@pytest.mark.parametrize(("share", "cost"), [(0.02, 0.5), (0.1, 0.05), (0.02, 5.0), (0.5, 3.0)])
def test_the_share_is_kept_and_used(
    monkeypatch: pytest.MonkeyPatch, share: float, cost: float
) -> None:
    cadence, clock = Budget(share), Clock(monkeypatch)
    sampled = clock.train(cadence, 20_000, cost)
    assert sampled[:3] == [1, 2, 3]
    assert cadence.spent == pytest.approx(len(sampled) * cost)
    used = cadence.spent / clock.now
    most = cost / (1 + cost)  # every iteration sampled
    assert min(share, most) * 0.9 < used < min(share, most) * 1.05
    assert cadence.overhead_fraction == pytest.approx(used, rel=0.05)


def test_samples_come_evenly_and_no_credit_is_saved_over_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cadence, clock = Budget(0.1), Clock(monkeypatch)
    clock.train(cadence, 1000, 1.0)
    clock.now += 10_000  # an evaluation
    sampled = clock.train(cadence, 100, 1.0, start=1001)
    gaps = [b - a for a, b in pairwise(sampled[1:])]
    assert set(gaps) <= {9, 10, 11}
    assert cadence.every == pytest.approx(10, abs=1)
    assert cadence.elapsed < 1500


def test_follows_when_the_cost_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    cadence, clock = Budget(0.05), Clock(monkeypatch)
    clock.train(cadence, 3000, 1.0)
    assert cadence.every == pytest.approx(20, abs=2)
    clock.train(cadence, 3000, 0.1, start=3001)
    assert cadence.every == pytest.approx(2, abs=1)


def test_a_fixed_cadence_is_metered_too(monkeypatch: pytest.MonkeyPatch) -> None:
    cadence, clock = Metered(Every(4)), Clock(monkeypatch)
    assert clock.train(cadence, 12, 0.5) == [1, 4, 8, 12]
    assert cadence.every == 4
    cadence.due(13)
    assert cadence.overhead_fraction == pytest.approx(2.0 / 14.0)


def test_cost_is_written() -> None:
    writer, sampler = MemoryWriter(), Sampler(Metered(Every(2)))
    trainer = Engine(lambda engine, batch: None)
    CostMonitor(writer, sampler).attach(trainer)
    trainer.run([0] * 6)
    assert [step for step, _ in writer.scalars["monitor/every"]] == [2, 4, 6]
    assert all(value >= 0 for _, value in writer.scalars["monitor/overhead_fraction"])
    with pytest.raises(TypeError, match="Metered"):
        CostMonitor(writer, Sampler(2))


def test_a_share_out_of_range() -> None:
    for share in (0.0, -1.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match="share"):
            Budget(share)
