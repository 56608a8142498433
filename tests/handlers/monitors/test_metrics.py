"""Ignite's metrics, of every form and however late they were attached."""

import logging
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import (
    Engine,
    Events,
    create_supervised_evaluator,
    create_supervised_trainer,
)
from ignite.handlers import global_step_from_engine
from ignite.metrics import (
    Accuracy,
    Average,
    ClassificationReport,
    ConfusionMatrix,
    Loss,
    Recall,
    RunningAverage,
)

from trainkit import attach_monitors
from trainkit.handlers.monitors.metrics import MetricMonitor
from trainkit.handlers.sampling.cadence import Every
from trainkit.writers import MemoryWriter


class Meta(torch.Tensor):
    """A subclass that only adds to a tensor, like MONAI's."""


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


def test_a_trainers_metrics_in_sampled_iterations_even_if_attached_later() -> None:
    writer, trainer = MemoryWriter(), Engine(lambda e, b: float(b))
    MetricMonitor(writer, Every(2)).attach(trainer)
    RunningAverage(alpha=0.5, output_transform=lambda x: x).attach(trainer, "running")
    Average().attach(trainer, "average")
    trainer.run([1, 3, 5], max_epochs=2)
    average, running = None, {}
    for step, value in enumerate([1, 3, 5] * 2, 1):
        average = value if average is None else average / 2 + value / 2
        running[step] = average
    # Every second, counted from the first, and the end of each epoch; none of them twice.
    assert [step for step, _ in writer.scalars["running/running"]] == [1, 2, 3, 4, 6]
    assert dict(writer.scalars["running/running"]) == {s: running[s] for s in (1, 2, 3, 4, 6)}
    # A value that is known only at the end of an epoch belongs to that iteration alone.
    assert writer.scalars["running/average"] == [(3, 3.0), (6, 3.0)]


def test_a_trainers_metrics_and_those_of_its_evaluator_are_two_things() -> None:
    model = torch.nn.Linear(3, 3)
    loss_fn = torch.nn.CrossEntropyLoss()
    sgd = torch.optim.SGD(model.parameters(), lr=0.5)
    trainer = create_supervised_trainer(model, sgd, loss_fn)
    evaluator = create_supervised_evaluator(model, {"loss": Loss(loss_fn)})
    RunningAverage(output_transform=lambda x: x).attach(trainer, "loss")
    data, writer, expected = batches(), MemoryWriter(), []

    @trainer.on(Events.EPOCH_COMPLETED)
    def evaluate() -> None:
        evaluator.run(data)
        expected.append((trainer.state.metrics["loss"], evaluator.state.metrics["loss"]))

    attach_monitors(
        trainer, model=model, optimizers=sgd, loss_fn=loss_fn, evaluators={"train": evaluator},
        writer=writer, predictions=None, every=100,
    )  # fmt: skip
    trainer.run(data, max_epochs=2)
    running, metrics = writer.scalars["running/loss"], writer.scalars["metrics/loss"]
    assert [step for step, _ in running] == [1, 3, 6]
    assert [value for _, value in running[1:]] == pytest.approx([one for one, _ in expected])
    assert metrics == [(3, expected[0][1]), (6, expected[1][1])]


def test_names_step_and_attributes_as_ignites_loggers_have_them() -> None:
    writer, trainer, evaluator = MemoryWriter(), Engine(lambda e, b: b), Engine(lambda e, b: b)
    monitor = MetricMonitor(
        writer,
        trainer=trainer,
        metric_names=["a"],
        global_step_transform=global_step_from_engine(trainer),
        state_attributes=["alpha", "beta"],
    )
    monitor.attach(evaluator)
    evaluator.state.alpha, evaluator.state.beta = 0.5, torch.tensor([1.0, 2.0])
    evaluator.add_event_handler(
        Events.EPOCH_COMPLETED, lambda: evaluator.state.metrics.update(a=1.0, b=2.0)
    )
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run([0]))
    trainer.run([1, 2, 3], max_epochs=2)
    assert writer.scalars == {
        "metrics/a": [(1, 1.0), (2, 1.0)],  # epochs
        "state/alpha": [(1, 0.5), (2, 0.5)],
        "state/beta/0": [(1, 1.0), (2, 1.0)],
        "state/beta/1": [(1, 2.0), (2, 2.0)],
    }


def test_attach_monitors_takes_them_too(caplog: pytest.LogCaptureFixture) -> None:
    writer, trainer, evaluator = MemoryWriter(), Engine(lambda e, b: b), Engine(lambda e, b: b)
    trainer.state.alpha = 0.25
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda: trainer.state.metrics.update(a=1.0, b=2.0)
    )
    evaluator.add_event_handler(
        Events.EPOCH_COMPLETED, lambda: evaluator.state.metrics.update(a=1.0, b=2.0)
    )
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run([0.0]))
    model = torch.nn.Linear(1, 1)
    attach_monitors(
        trainer, model=model, optimizers=torch.optim.SGD(model.parameters(), lr=1.0),
        evaluators=evaluator, writer=writer, predictions=None,
        metric_names={"trainer": ["b"], "validation": ["a", "absent"]},
        global_step_transform=lambda engine, event: 7, state_attributes=["alpha"],
    )  # fmt: skip
    trainer.run([1.0, 2.0], max_epochs=2)
    assert {tag: value for tag, value in writer.scalars.items() if tag[:4] in ("runn", "stat")} == {
        "running/b": [(7, 2.0)], "state/alpha": [(7, 0.25)],
    }  # fmt: skip
    validation = writer.subruns["validation"].scalars
    assert validation["metrics/a"] == [(7, 1.0), (7, 1.0)] or validation["metrics/a"] == [(7, 1.0)]
    assert "metrics/b" not in validation
    lines = [r.getMessage() for r in caplog.records if "absent" in r.getMessage()]
    assert lines == ["the metric absent is left out: there is none; there is a, b"]


def test_options_of_the_wrong_kind_are_refused() -> None:
    with pytest.raises(TypeError, match=r"metric_names must be 'all' or a list of names, got 3"):
        MetricMonitor(MemoryWriter(), metric_names=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="metric_names must be 'all' or a list"):
        MetricMonitor(MemoryWriter(), metric_names="accuracy")
    with pytest.raises(TypeError, match="state_attributes must be a list of names"):
        MetricMonitor(MemoryWriter(), state_attributes=[1])  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"global_step_transform must be a function .* got 3"):
        MetricMonitor(MemoryWriter(), global_step_transform=3)  # type: ignore[arg-type]


class Unreadable(dict[str, float]):
    def items(self) -> Any:
        raise RuntimeError("not computed yet")


def test_one_odd_metric_costs_that_metric(caplog: pytest.LogCaptureFixture) -> None:
    writer, trainer, evaluator = MemoryWriter(), Engine(lambda e, b: None), Engine(lambda e, b: b)
    MetricMonitor(writer, trainer=trainer).attach(evaluator)
    odd = {
        "none": None,
        "complex": 1j,
        "complex_tensor": torch.tensor(1j),
        "huge": 10**400,
        "many": torch.zeros(10_000),
        "sparse": torch.zeros(3).to_sparse(),
        "meta": torch.zeros(3, device="meta"),
        "objects": np.array([object()]),
        "unreadable": Unreadable(a=1.0),
        "empty": {},
        "part/of": [1.0],
    }
    good = {"before": 1.0, **odd, "part": {"of": [2.0], "bad": None}, "after": 2.0}
    evaluator.add_event_handler(
        Events.EPOCH_COMPLETED, lambda: evaluator.state.metrics.update(good)
    )
    for data in ([1],) * 2:
        evaluator.run(data)
    assert set(writer.scalars) == {"metrics/before", "metrics/after", "metrics/part/of/0"}
    lines = [r.getMessage() for r in caplog.records]
    named = sorted(line.split(" ")[0] for line in lines)
    expected = [f"metrics/{name}" for name in odd if name != "part/of"]
    assert named == sorted([*expected, "metrics/part/bad", "metrics/part/of/0"])
    assert all(" is left out: " in line and "\n" not in line for line in lines)
    (twice,) = [line for line in lines if "part/of" in line]
    assert "another metric has the same tag" in twice


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
        (
            {"a": torch.tensor([1.0, 2.0]), "b": np.array(3.0)},
            {"m/a/0": 1.0, "m/a/1": 2.0, "m/b": 3.0},
        ),
        (Fraction(1, 4), {"m": 0.25}),
        (Decimal("0.25"), {"m": 0.25}),
        (np.bool_(True), {"m": 1.0}),
        (np.array(0.5), {"m": 0.5}),
        (torch.tensor(0.5).as_subclass(Meta), {"m": 0.5}),
        (float("nan"), {"m": float("nan")}),
    ],
)
def test_forms_of_values(value: object, expected: dict[str, float]) -> None:
    writer, engine = MemoryWriter(), Engine(lambda e, b: None)
    MetricMonitor(writer).attach(engine)
    engine.add_event_handler(Events.STARTED, lambda: engine.state.metrics.update(m=value))
    engine.run([1])
    found = {tag.removeprefix("running/"): points[0][1] for tag, points in writer.scalars.items()}
    assert found == pytest.approx(expected, nan_ok=True)


def test_what_no_chart_shows_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    writer, engine = MemoryWriter(), Engine(lambda e, b: None)
    MetricMonitor(writer).attach(engine)
    values = {"odd": object(), "many": torch.zeros(1000), "cube": torch.zeros(2, 2, 2), "text": "t"}
    engine.add_event_handler(Events.STARTED, lambda: engine.state.metrics.update(values))
    with caplog.at_level(logging.WARNING, "trainkit"):
        engine.run([1], max_epochs=3)
    assert sorted(r.getMessage().split()[0] for r in caplog.records) == [
        "running/cube", "running/many", "running/odd",
    ]  # fmt: skip
    assert not writer.scalars
    assert [text for _, text in writer.texts["running/text"]] == ["t"] * 3


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


def test_a_metric_that_answers_nothing_costs_itself() -> None:
    class Mute:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(name)

    trainer, writer = Engine(lambda engine, batch: None), MemoryWriter()

    @trainer.on(Events.ITERATION_COMPLETED)
    def compute() -> None:
        trainer.state.metrics.update(odd=Mute(), good=2.0)  # type: ignore[dict-item]

    handle = MetricMonitor(writer).attach(trainer)
    trainer.run([0, 0])
    handle.remove()
    assert [value for _, value in writer.scalars["running/good"]] == [2.0, 2.0]
    assert [*writer.scalars] == ["running/good"]
