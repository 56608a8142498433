import math
import time
from itertools import pairwise
from random import Random
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events

from trainkit.handlers.monitor import Monitor
from trainkit.handlers.monitors.cost import CostMonitor
from trainkit.handlers.monitors.losses import LossMonitor
from trainkit.handlers.sampling.budget import Budget
from trainkit.handlers.sampling.cadence import Every
from trainkit.handlers.sampling.metered import Metered
from trainkit.handlers.sampling.moment import Moment
from trainkit.handlers.sampling.sampler import Sampler
from trainkit.writers import BackgroundWriter, MemoryWriter


class Clock:
    """A training of which every duration is known."""

    def __init__(self) -> None:
        self.now = 0.0

    def budget(self, share: float) -> Budget:
        return Budget(share, clock=lambda: self.now, unseen=(1.0, 1.0))

    def metered(self, every: int) -> Metered:
        return Metered(Every(every), clock=lambda: self.now, unseen=(1.0, 1.0))

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


@pytest.mark.parametrize(("share", "cost"), [(0.02, 0.5), (0.1, 0.05), (0.02, 3.0), (0.5, 3.0)])
@pytest.mark.parametrize("known", [True, False])
def test_the_share_is_kept_and_used(share: float, cost: float, known: bool) -> None:
    clock = Clock()
    cadence = clock.budget(share)
    cadence.plan(0, 20_000 if known else None)
    sampled = clock.train(cadence, 20_000, cost)
    assert sampled[:3] == [1, 2, 3]
    cadence.tick()
    without = 20_000.0
    used = (clock.now - without) / without
    most = cost  # every iteration sampled
    assert min(share, most) * 0.8 < used <= min(share, most)
    assert cadence.first_sample_seconds == cost
    assert cadence.overhead_fraction == pytest.approx(used - cost / without, rel=0.01)
    assert cadence.samples == len(sampled)


@pytest.mark.parametrize("iterations", [50, 60, 99, 100, 130, 1020, 1021, 7777])
@pytest.mark.parametrize("cost", [0.001, 0.4, 50.0])
def test_a_run_is_sampled_fifty_times_evenly_and_at_its_end(
    monkeypatch: pytest.MonkeyPatch, iterations: int, cost: float
) -> None:
    """Whatever a sample costs; prices and iterations are never twice the same."""
    clock, random = Clock(), Random(0)
    cadence = clock.budget(0.02)
    cadence.plan(0, iterations)
    sampled = []
    for i in range(1, iterations + 1):
        sampled += clock.train(
            cadence, 1, cost * random.choice([0.5, 1, 1, 3]), random.uniform(0.5, 1.5), start=i
        )
    assert len(sampled) >= 50
    assert sampled[:3] == [1, 2, 3]
    assert sampled[-1] == iterations
    gaps = [b - a for a, b in pairwise(sampled)]
    assert max(gaps) <= max(1, iterations // 50)
    # Of the later half of the run there is half of the samples.
    late = sum(i > iterations / 2 for i in sampled)
    assert late >= 0.4 * len(sampled)
    # The budget is what limits them where it can.
    if cost == 50.0 and iterations >= 100:
        assert len(sampled) < 110
        assert cadence.beyond > 40
    if cost == 0.001:
        assert len(sampled) == iterations
        assert cadence.beyond == 0


def test_a_sample_that_is_dear_for_once_does_not_end_the_samples() -> None:
    clock = Clock()
    cadence = clock.budget(0.02)
    cadence.plan(0, 100_000)
    before = clock.train(cadence, 50_000, 0.5)
    at = 50_001
    while not clock.train(cadence, 1, 200.0, start=at):
        at += 1
    after = clock.train(cadence, 100_000 - at, 0.5, start=at + 1)
    gaps = [b - a for a, b in pairwise([at, *after])]
    assert max(gaps) <= 3 * (before[-1] - before[-2])
    assert len(after) > 0.7 * len(before)
    assert after[-1] == 100_000


def test_a_run_that_goes_on_is_sampled_to_its_new_end() -> None:
    clock = Clock()
    cadence = clock.budget(0.001)
    cadence.plan(0, 100)
    assert clock.train(cadence, 100, 9.0)[-1] == 100
    cadence.plan(100, 600)
    sampled = clock.train(cadence, 500, 9.0, start=101)
    assert len(sampled) >= 50
    assert sampled[-1] == 600
    cadence.plan(0, 600)  # and one that begins again
    assert len(clock.train(cadence, 600, 9.0)) >= 50


def test_samples_come_evenly_and_no_credit_is_saved_over_a_pause() -> None:
    clock = Clock()
    cadence = clock.budget(0.1)
    cadence.plan(0, 1100)
    clock.train(cadence, 1000, 1.0)
    clock.now += 10_000  # an evaluation
    sampled = clock.train(cadence, 100, 1.0, start=1001)
    gaps = [b - a for a, b in pairwise(sampled[1:-1])]
    assert set(gaps) <= {9, 10, 11, 12}
    assert cadence.training < 1500


def test_follows_when_the_cost_changes() -> None:
    clock = Clock()
    cadence = clock.budget(0.05)
    cadence.plan(0, 6000)
    first = clock.train(cadence, 3000, 1.0)
    assert len(first) == pytest.approx(3000 / 22, rel=0.1)
    second = clock.train(cadence, 3000, 0.1, start=3001)
    assert len(second) > 5 * len(first)


def test_a_fixed_cadence_is_metered_too() -> None:
    clock = Clock()
    cadence = clock.metered(4)
    assert clock.train(cadence, 12, 0.5) == [1, 4, 8, 12]
    assert cadence.every == 4
    cadence.due(13)
    assert cadence.first_sample_seconds == 0.5
    assert cadence.overhead_fraction == pytest.approx(1.5 / 12.0)


def test_a_first_sample_that_imports_and_allocates_is_counted_apart_and_not_paid_back() -> None:
    clock = Clock()
    cadence = clock.budget(0.1)
    for i, cost in enumerate((100.0, 2.0, 1.0), start=1):
        assert clock.train(cadence, 1, cost, start=i) == [i]
    cadence.plan(3, 4000)
    sampled = clock.train(cadence, 1000, 1.0, start=4)
    assert sampled[0] == pytest.approx(14, abs=3)
    assert cadence.sample_seconds == pytest.approx(1.0)
    assert cadence.first_sample_seconds == 100.0
    cadence.due(1004)
    assert cadence.spent == pytest.approx(2.0 + 1.0 + len(sampled) * 1.0)


def test_a_resumed_run_begins_with_three_samples_too() -> None:
    clock = Clock()
    cadence = clock.budget(0.01)
    cadence.plan(500, 10_000)
    assert clock.train(cadence, 20, 1.0, start=501) == [501, 502, 503]


def test_what_another_thread_took_counts() -> None:
    clock = Clock()
    cadence = clock.budget(0.1)
    for i in range(1, 5001):
        if cadence.due(i):
            cadence.spend(0.5)
            clock.now += 0.5
            cadence.spend_beside(0.5)
        clock.now += 1.0
    assert cadence.every == pytest.approx(11, abs=1)
    assert 0.08 < cadence.overhead_fraction <= 0.1


def test_looking_when_to_sample_is_paid_from_the_same_share() -> None:
    def used(idle: float) -> float:
        clock = Clock()
        cadence = clock.budget(0.1)
        for i in range(1, 20_001):
            cost = 1.0 if cadence.due(i) else idle
            cadence.spend(cost)
            clock.now += cost + 1.0
        assert cadence.overhead_fraction == pytest.approx(clock.now / 20_000 - 1, rel=0.01)
        return cadence.overhead_fraction

    assert 0.08 < used(0.04) <= 0.1
    # Where that alone is more than the budget, a quarter of the share is left for samples.
    assert used(0.2) == pytest.approx(0.2 + 0.0225, rel=0.05)


def test_what_no_clock_sees_is_allowed_for() -> None:
    clock = Clock()
    cadence = Metered(Every(2), clock=lambda: clock.now)
    for i in range(2, 7):
        cadence.spend(0.5 if cadence.due(i) else 0.01)
        clock.now += 1.0 + (0.01 if i % 2 else 0.5)
    cadence.due(7)
    assert cadence.first_sample_seconds == 0.5
    assert cadence.spent == pytest.approx(2 * 0.5 * 1.2 + 2 * 0.01 * 3.0)


def test_what_happens_between_epochs_and_runs_is_no_training() -> None:
    clock = Clock()

    def take(seconds: float) -> None:
        clock.now += seconds

    class Dear(Monitor):
        def moments(self) -> Any:
            return {Moment.ITERATION_COMPLETED: lambda engine: take(0.5)}

    cadence = clock.metered(1)
    trainer = Engine(lambda engine, batch: take(1.0))
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: take(7.0))  # less than a pause
    Dear(MemoryWriter(), Sampler(cadence, clock=lambda: clock.now)).attach(trainer)
    trainer.run([0] * 3, max_epochs=4)
    take(1000.0)
    trainer.run([0] * 3, max_epochs=6)
    cadence.due(19)
    # The first sample is counted apart; the last pause ends with the iteration that follows.
    assert cadence.spent == pytest.approx(17 * 0.5)
    assert cadence.training == pytest.approx(18 * 1.0 + 7.0)


def test_a_cost_longer_than_its_iteration_does_no_harm_to_the_rest() -> None:
    # As where a process waits for the processor between two readings of the clock.
    clock = Clock()
    cadence = clock.budget(0.02)
    cadence.plan(0, 20_000)
    clock.train(cadence, 100, 0.5)
    before, at = cadence.sample_seconds, 101
    while not cadence.due(at):
        clock.now += 1.0
        at += 1
    cadence.spend(40.0)
    clock.now += 1.0
    assert not cadence.due(at + 1)
    # One that is dear for once counts as at most four usual ones, and little of that is learned.
    assert before < cadence.sample_seconds <= before + 0.1 * (4 * before - before) + 1e-9
    clock.now += 1.0
    clock.train(cadence, 20_000 - at - 1, 0.5, start=at + 2)
    cadence.tick()
    # The iteration itself counts nothing: all of its time was that of monitors.
    assert cadence.training == pytest.approx(19_999, abs=2)
    assert cadence.iteration_seconds == pytest.approx(1.0)
    assert cadence.overhead_fraction <= 0.02


def test_an_iteration_that_was_left_is_no_pause() -> None:
    clock = Clock()

    def step(engine: Engine, batch: str) -> None:
        clock.now += 1.0
        if batch == "bad":
            raise ValueError(batch)

    cadence = clock.metered(100)
    trainer = Engine(step)
    CostMonitor(MemoryWriter(), Sampler(cadence, clock=lambda: clock.now)).attach(trainer)
    with pytest.raises(ValueError, match="bad"):
        trainer.run(["good"] * 5 + ["bad"])
    trainer.state.max_epochs = None
    clock.now += 5.0
    trainer.run(["good"] * 3)
    cadence.due(10)
    assert cadence.training == pytest.approx(6.0 + 5.0 + 3.0)


def test_after_an_alarm_every_iteration_is_sampled_for_a_while() -> None:
    clock = Clock()
    cadence = clock.budget(0.01)
    cadence.plan(0, 10_000)
    clock.train(cadence, 1000, 1.0)
    cadence.alarm(1000)
    assert clock.train(cadence, 10, 1.0, start=1001) == list(range(1001, 1011))
    # They are not paid for.
    assert len(clock.train(cadence, 1000, 1.0, start=1011)) == pytest.approx(9, abs=2)


def losses(*values: Any) -> Engine:
    """A trainer whose iterations return these."""
    return Engine(lambda engine, batch: values[engine.state.iteration - 1])


@pytest.mark.parametrize(
    "make",
    [
        float,
        torch.tensor,
        lambda x: {"loss": torch.tensor(x, dtype=torch.bfloat16)},
        lambda x: torch.tensor([x], dtype=torch.float64, requires_grad=True),
    ],
)
@pytest.mark.parametrize("bad", [math.nan, -math.inf])
def test_an_iteration_whose_loss_is_not_finite_is_never_skipped(make: Any, bad: float) -> None:
    values = [make(1.0)] * 2000
    values[20] = make(bad)
    writer, sampler, trainer = MemoryWriter(), Sampler(Budget(1e-9)), losses(*values)
    LossMonitor(writer, sampler).attach(trainer)
    trainer.run([0] * 2000)
    steps = [step for step, _ in writer.scalars["loss/total"] if step < 40]
    assert steps == [1, 2, 3, *range(21, 32)]


def test_a_fixed_cadence_samples_what_it_says() -> None:
    writer, trainer = MemoryWriter(), losses(*[math.nan] * 10)
    LossMonitor(writer, 5).attach(trainer)
    trainer.run([0] * 10)
    assert [step for step, _ in writer.scalars["loss/total"]] == [1, 5, 10]


def test_what_the_writers_thread_sees_raises_the_alarm() -> None:
    writer, trainer = BackgroundWriter(MemoryWriter()), losses(*[0.0] * 10)
    budget = Budget(1e-9)
    monitor = LossMonitor(writer, Sampler(budget))
    handle = monitor.attach(trainer)
    writer.write_scalars(3, {"loss/total": 1.0, "metrics/accuracy": math.nan})
    writer.flush()
    assert not budget.due(100) or budget.samples <= 3
    assert budget.alarmed_until == 0
    writer.write_scalars(4, {"gradients/global_norm": torch.tensor(math.inf)})
    writer.flush()
    assert budget.alarmed_until == 14
    assert writer.thread_seconds > 0
    handle.remove()
    writer.write_scalars(50, {"gradients/global_norm": torch.tensor(math.inf)})
    writer.close()
    assert budget.alarmed_until == 14


def test_an_output_that_cannot_be_looked_at_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    class Odd(dict[str, Any]):
        def get(self, *_: Any) -> Any:
            raise RuntimeError("it is not given")

    trainer = losses(*[Odd(loss=1.0)] * 5)
    sampler = Sampler(Budget(0.5))
    CostMonitor(MemoryWriter(), sampler).attach(trainer)
    trainer.run([0] * 5)
    assert trainer.state.iteration == 5
    assert caplog.text.count("cannot be looked at") == 1


def test_the_threads_time_reaches_the_budget() -> None:
    writer = BackgroundWriter(MemoryWriter(), queue_size=4)
    told: list[float] = []

    class Told(Metered):
        def spend_beside(self, seconds: float) -> None:
            told.append(seconds)
            super().spend_beside(seconds)

    trainer = Engine(lambda engine, batch: time.sleep(0.002))
    CostMonitor(writer, Told(Every(1))).attach(trainer)
    trainer.run([0] * 20)
    writer.close()
    assert sum(told) > 0
    assert min(told) >= 0


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
