"""Throughput, on a clock of its own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events

from tests.writers.reading import accumulated
from trainkit.handlers.monitors.throughput import ThroughputMonitor
from trainkit.writers import EventFileWriter, MemoryWriter


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Data:
    """Batches that take a second each to come."""

    def __init__(self, clock: Clock, sizes: list[int]) -> None:
        self.clock, self.sizes = clock, sizes

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[torch.Tensor]:
        for size in self.sizes:
            self.clock.wait(1)
            yield torch.zeros(size)


def values(writer: MemoryWriter, name: str) -> list[tuple[int, float]]:
    return [(step, float(v)) for step, v in writer.scalars[f"throughput/{name}"]]


def test_the_interval_since_the_last_sample_with_unequal_batches(clock: Clock) -> None:
    writer, trainer = MemoryWriter(), Engine(lambda e, b: clock.wait(3))
    ThroughputMonitor(writer, every=3, clock=clock).attach(trainer)
    trainer.run(Data(clock, [8, 8, 2]), max_epochs=2)
    assert values(writer, "iteration_seconds") == [(1, 4.0), (3, 4.0), (6, 4.0)]
    assert values(writer, "samples_per_second") == [(1, 2.0), (3, 10 / 8), (6, 18 / 12)]
    assert values(writer, "data_wait_fraction") == [(1, 0.25), (3, 0.25), (6, 0.25)]


@pytest.mark.parametrize("event", [Events.ITERATION_COMPLETED(every=2), Events.EPOCH_COMPLETED])
@pytest.mark.parametrize("evaluate_first", [True, False])
def test_validation_is_left_out(clock: Clock, event: Any, evaluate_first: bool) -> None:
    writer, trainer = MemoryWriter(), Engine(lambda e, b: clock.wait(3))
    evaluator = Engine(lambda e, b: clock.wait(1000))
    monitor = ThroughputMonitor(writer, every=4, evaluators=[evaluator], clock=clock)
    if not evaluate_first:
        monitor.attach(trainer)
    trainer.add_event_handler(event, lambda: evaluator.run([1, 2]))
    if evaluate_first:
        monitor.attach(trainer)
    trainer.run(Data(clock, [8, 8]), max_epochs=4)
    assert values(writer, "iteration_seconds") == [(1, 4.0), (4, 4.0), (8, 4.0)]


def test_what_happens_between_epochs_and_runs_is_left_out(clock: Clock) -> None:
    writer, trainer = MemoryWriter(), Engine(lambda e, b: clock.wait(3))
    evaluator = Engine(lambda e, b: clock.wait(1000))
    ThroughputMonitor(writer, every=1, evaluators=[evaluator], clock=clock).attach(trainer)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run([1]))
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: clock.wait(500))
    trainer.run(Data(clock, [8]), max_epochs=2)
    clock.wait(500)
    trainer.run(Data(clock, [8]), max_epochs=3)
    assert {value for _, value in values(writer, "iteration_seconds")} == {4.0}


def test_an_evaluator_that_failed_does_not_stop_the_clock(clock: Clock) -> None:
    def fail(engine: Engine, batch: int) -> None:
        clock.wait(1000)
        raise RuntimeError

    writer, trainer, evaluator = MemoryWriter(), Engine(lambda e, b: clock.wait(3)), Engine(fail)
    ThroughputMonitor(writer, every=1, evaluators=[evaluator], clock=clock).attach(trainer)

    @trainer.on(Events.ITERATION_COMPLETED(once=1))
    def evaluate() -> None:
        with pytest.raises(RuntimeError):
            evaluator.run([1])

    trainer.run(Data(clock, [8, 8, 8]))
    assert values(writer, "iteration_seconds") == [(1, 4.0), (2, 4.0), (3, 4.0)]


def test_no_rate_of_samples_where_their_number_is_not_known() -> None:
    writer, trainer = MemoryWriter(), Engine(lambda e, b: None)
    ThroughputMonitor(writer).attach(trainer)
    trainer.run(range(2))
    assert set(writer.scalars) == {
        "throughput/iteration_seconds", "throughput/data_wait_fraction",
    }  # fmt: skip
    sized = MemoryWriter()
    with ThroughputMonitor(sized, batch_size=lambda batch: 4).attach(trainer):
        trainer.run(range(2))
    assert len(sized.scalars["throughput/samples_per_second"]) == 2


def test_the_speed_of_every_iteration_whatever_is_sampled(clock: Clock) -> None:
    waits = [3.0, 1.0, 4.0, 0.0, 1.0, 8.0]
    writer, trainer = MemoryWriter(), Engine(lambda e, b: clock.wait(waits[e.state.iteration - 1]))
    evaluator = Engine(lambda e, b: clock.wait(1000))
    monitor = ThroughputMonitor(
        writer, 10**6, evaluators=[evaluator], every_iteration=True, clock=clock
    )
    monitor.attach(trainer)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(every=2), lambda: evaluator.run([1]))
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: clock.wait(500))
    for _ in range(2):  # a second run is written from its first iteration on
        trainer.run(Data(clock, [8, 2, 4]), max_epochs=2)
        times = [1 + wait for wait in waits]
        assert values(writer, "iteration_seconds")[-6:] == list(enumerate(times, 1))
        rates = [n / t for n, t in zip([8, 2, 4] * 2, times, strict=True)]
        assert values(writer, "samples_per_second")[-6:] == list(enumerate(rates, 1))
        assert values(writer, "data_wait_fraction")[-6:] == [
            (i, 1 / t) for i, t in enumerate(times, 1)
        ]


def test_the_speed_of_every_iteration_where_sizes_are_not_known_to_the_end(tmp_path: Path) -> None:
    trainer = Engine(lambda e, b: None)
    writer = EventFileWriter(tmp_path)
    ThroughputMonitor(writer, every_iteration=True).attach(trainer)
    trainer.run([*[torch.zeros(4)] * 5, *[1] * 3])
    writer.close()
    found = accumulated(tmp_path)
    assert [e.step for e in found.Scalars("throughput/iteration_seconds")] == [*range(1, 9)]
    assert [e.step for e in found.Scalars("throughput/samples_per_second")] == [*range(1, 6)]


def test_a_fault_in_every_iteration_is_reported_once_and_ends_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    trainer, evaluator = Engine(lambda e, b: None), Engine(lambda e, b: None)
    monitor = ThroughputMonitor(MemoryWriter(), evaluators=[evaluator], batch_size=lambda b: 1 / 0)  # type: ignore[arg-type]
    monitor.attach(trainer)
    trainer.run(range(3))
    assert isinstance(monitor.guard.failure, ZeroDivisionError)
    assert caplog.text.count("ThroughputMonitor failed and is disabled") == 1
    assert not trainer._event_handlers[Events.GET_BATCH_COMPLETED]
    assert not any(evaluator._event_handlers.values())


def test_nothing_is_left_after_remove() -> None:
    trainer, evaluator = Engine(lambda e, b: None), Engine(lambda e, b: None)
    handle = ThroughputMonitor(MemoryWriter(), evaluators=[evaluator]).attach(trainer)
    trainer.run(range(2))
    handle.remove()
    assert not any(trainer._event_handlers.values())
    assert not any(evaluator._event_handlers.values())


class Says(list[float]):
    """A list that says another length."""

    def __len__(self) -> int:
        return 8


def test_data_that_end_early_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    trainer = Engine(lambda e, b: None)
    ThroughputMonitor(MemoryWriter()).attach(trainer)
    trainer.run(Says([1.0, 2.0, 3.0]), max_epochs=3)
    lines = [r.getMessage() for r in caplog.records if "ended" in r.getMessage()]
    assert len(lines) == 1
    assert lines[0].startswith("the training data ended after batch 3 of 8, or an item raised Stop")


def test_data_that_end_where_they_say_are_not(caplog: pytest.LogCaptureFixture) -> None:
    trainer = Engine(lambda e, b: None)
    ThroughputMonitor(MemoryWriter()).attach(trainer)
    trainer.run([1.0, 2.0, 3.0], max_epochs=3)
    trainer.run([1.0, 2.0, 3.0], max_epochs=3, epoch_length=5)
    trainer.run([1.0, 2.0, 3.0], max_epochs=3, epoch_length=2)
    assert "ended" not in caplog.text
