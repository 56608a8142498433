"""Ignite's metrics, of every form and however late they were attached."""

import logging

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from ignite.metrics import (
    Accuracy,
    Average,
    ClassificationReport,
    ConfusionMatrix,
    Recall,
    RunningAverage,
)

from trainkit.handlers.metrics import MetricMonitor
from trainkit.writers import MemoryWriter


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(n, 3, generator=generator), torch.randint(0, 3, (n,), generator=generator))
        for n in (8, 8, 5)
    ]


def test_an_evaluators_metrics_at_the_trainers_iteration() -> None:
    writer, trainer, evaluator = MemoryWriter(), Engine(lambda e, b: None), Engine(lambda e, b: b)
    MetricMonitor(writer, trainer=trainer).attach(evaluator)
    Accuracy().attach(evaluator, "accuracy")  # later than the monitor
    Recall().attach(evaluator, "recall")
    ConfusionMatrix(3).attach(evaluator, "confusion")
    ClassificationReport(output_dict=True).attach(evaluator, "report")
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(batches()))
    trainer.run([1, 2, 3], max_epochs=2)
    y_pred, y = (torch.cat(part) for part in zip(*batches(), strict=True))
    expected = (y_pred.argmax(1) == y).double().mean().item()
    assert writer.scalars["metrics/accuracy"] == [(3, expected), (6, expected)]
    assert {f"metrics/recall/{c}" for c in range(3)} < set(writer.scalars)
    assert "metrics/report/macro avg/f1-score" in writer.scalars
    assert not any(tag.startswith("metrics/0") for tag in writer.scalars)  # Ignite's second copy
    step, image = writer.images["metrics/confusion"][0]
    assert step == 3
    assert image.shape[-1] >= 200
    diagonal = (y_pred.argmax(1)[y == 0] == 0).double().mean().item()
    assert float(image.squeeze()[0, 0]) == pytest.approx(diagonal, abs=1e-6)


def test_a_trainers_metrics_after_each_epoch_even_if_attached_later() -> None:
    writer, trainer = MemoryWriter(), Engine(lambda e, b: float(b))
    MetricMonitor(writer).attach(trainer)
    RunningAverage(output_transform=lambda x: x).attach(trainer, "running")
    trainer.run([1, 3], max_epochs=1)
    Average().attach(trainer, "average")
    trainer.run([1, 3], max_epochs=3)
    assert [step for step, _ in writer.scalars["metrics/running"]][-3:] == [2, 4, 6]
    assert writer.scalars["metrics/average"][-2:] == [(4, 2.0), (6, 2.0)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, {"m": 1.0}),
        (np.float32(0.5), {"m": 0.5}),
        (np.array([1, 2]), {"m/0": 1.0, "m/1": 2.0}),
        (torch.tensor([[0.5]]), {"m": 0.5}),
        (torch.tensor(True), {"m": 1.0}),
        (True, {"m": 1.0}),
        ([1.0, torch.tensor(2.0)], {"m/0": 1.0, "m/1": 2.0}),
        ({"a": {"b": 1.0}, "c": "text"}, {"m/a/b": 1.0}),
        (float("nan"), {"m": float("nan")}),
    ],
)
def test_forms_of_values(value: object, expected: dict[str, float]) -> None:
    writer, engine = MemoryWriter(), Engine(lambda e, b: None)
    MetricMonitor(writer).attach(engine)
    engine.add_event_handler(Events.STARTED, lambda: engine.state.metrics.update(m=value))
    engine.run([1])
    found = {tag.removeprefix("metrics/"): points[0][1] for tag, points in writer.scalars.items()}
    assert found == pytest.approx(expected, nan_ok=True)


def test_what_no_chart_shows_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    writer, engine = MemoryWriter(), Engine(lambda e, b: None)
    MetricMonitor(writer).attach(engine)
    values = {"odd": object(), "many": torch.zeros(1000), "cube": torch.zeros(2, 2, 2), "text": "t"}
    engine.add_event_handler(Events.STARTED, lambda: engine.state.metrics.update(values))
    with caplog.at_level(logging.WARNING, "trainkit"):
        engine.run([1], max_epochs=3)
    assert sorted(r.getMessage().split()[0] for r in caplog.records) == [
        "metrics/cube", "metrics/many", "metrics/odd",
    ]  # fmt: skip
    assert not writer.scalars
    assert [text for _, text in writer.texts["metrics/text"]] == ["t"] * 3


def test_nothing_is_left_after_remove() -> None:
    trainer, evaluator = Engine(lambda e, b: None), Engine(lambda e, b: None)
    for monitor, engine in (
        (MetricMonitor(MemoryWriter()), trainer),
        (MetricMonitor(MemoryWriter(), trainer=trainer), evaluator),
    ):
        handle = monitor.attach(engine)
        with pytest.raises(ValueError, match="attached already"):
            monitor.attach(engine)
        engine.run([1])
        assert any(engine._event_handlers.values())
        handle.remove()
        assert not any(engine._event_handlers.values())
