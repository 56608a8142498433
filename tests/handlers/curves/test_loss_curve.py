"""The loss of every iteration, and the evaluated one beside validation's."""

import math
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events, create_supervised_evaluator, create_supervised_trainer
from torch import nn

from tests.writers.reading import accumulated
from trainkit import attach_monitors
from trainkit.handlers.monitors.losses import LossMonitor
from trainkit.handlers.sampling.budget import Budget
from trainkit.handlers.sampling.cadence import Every
from trainkit.handlers.sampling.metered import Metered
from trainkit.handlers.sampling.sampler import Sampler
from trainkit.writers import MemoryWriter
from trainkit.writers.protocol import Curve, Point

N = 300
VALUES = [math.cos(i / 7) + 2 for i in range(N)]


def curve(step: Any, every: Any = 1_000_000, **more: Any) -> dict[str, list[tuple[int, float]]]:
    """What a trainer of N iterations writes that returns `step(value)`."""
    writer = MemoryWriter()
    trainer = Engine(lambda engine, batch: step(batch))
    monitor = LossMonitor(writer, Sampler(every), every_iteration=True, **more)
    monitor.attach(trainer)
    trainer.run(VALUES)
    assert monitor.guard.failure is None
    return writer.scalars


BUFFER = torch.zeros(())


def overwritten(value: float) -> dict[str, Any]:
    """The same memory in each iteration, as CUDA graphs return it."""
    BUFFER.fill_(value)
    return {"loss": BUFFER, "losses": {"a": BUFFER}}


WIDE = torch.zeros((), dtype=torch.float64)


def overwritten_and_read_later(value: float) -> Any:
    """Of a kind that is not read at once."""
    return WIDE.fill_(value)


@pytest.mark.parametrize(
    "step",
    [
        float,
        overwritten_and_read_later,
        torch.tensor,
        lambda x: torch.tensor([x]),
        lambda x: torch.tensor(x, requires_grad=True),
        lambda x: torch.tensor(x, dtype=torch.float64),
        lambda x: {"loss": torch.tensor(x), "y_pred": torch.zeros(3), "y": torch.zeros(3)},
        lambda x: {"loss": torch.tensor(x, requires_grad=True) * 1},
        lambda x: {"loss": x},
        overwritten,
    ],
)
@pytest.mark.parametrize("every", [1, 7, 1_000_000])
def test_every_iteration_is_a_point(step: Any, every: int) -> None:
    found = curve(step, every)["loss/total"]
    assert [i for i, _ in found] == list(range(1, N + 1))
    assert [value for _, value in found] == pytest.approx(VALUES, rel=1e-6)


def test_components_and_other_numbers_of_a_step() -> None:
    found = curve(
        lambda x: {
            "loss": torch.tensor(3 * x),
            "losses": {"ce": torch.tensor(x), "l2": torch.tensor(2 * x)},
            "scalars": {"metrics/x": torch.tensor(-x)},
            "n": 3,
        }
    )
    for tag, factor in (("total", 3), ("ce", 1), ("l2", 2)):
        values = [value for _, value in found[f"loss/{tag}"]]
        assert values == pytest.approx([factor * x for x in VALUES], rel=1e-6)
    assert [value for _, value in found["metrics/x"]] == pytest.approx([-x for x in VALUES])
    assert [value for _, value in found["output/n"]] == [3.0] * N


def test_steps_that_return_other_things_in_turn() -> None:
    """As in adversarial training; a number that becomes another kind of number too."""
    turns = iter(range(N))

    def step(x: float) -> Any:
        i = next(turns)
        name = "generator" if i % 2 else "discriminator"
        return {"loss": torch.tensor(x) if i % 3 else x, "losses": {name: torch.tensor(x)}}

    found = curve(step)
    assert [i for i, _ in found["loss/total"]] == list(range(1, N + 1))
    assert [i for i, _ in found["loss/generator"]] == list(range(2, N + 1, 2))
    assert [v for _, v in found["loss/generator"]] == pytest.approx(VALUES[1::2], rel=1e-6)


def test_through_an_output_transform() -> None:
    found = curve(lambda x: ("odd", x), output_transform=lambda output: {"loss": output[1]})
    assert found["loss/total"] == [(i + 1, value) for i, value in enumerate(VALUES)]


def test_nan_is_shown_where_it_was() -> None:
    found = curve(lambda x: torch.tensor(math.nan if x > 2.999 else x), Budget(1e-9))
    shown = [i for i, value in found["loss/total"] if math.isnan(value)]
    assert shown == [i + 1 for i, value in enumerate(VALUES) if value > 2.999]
    assert len(found["loss/total"]) == N


def test_a_dear_output_transform_is_applied_in_sampled_iterations_only() -> None:
    def dear(output: float) -> dict[str, float]:
        time.sleep(0.002)
        return {"loss": output}

    found = curve(float, Metered(Every(100)), output_transform=dear)
    steps = [i for i, _ in found["loss/total"]]
    assert steps[-3:] == [100, 200, 300]
    assert len(steps) < 10


def test_a_monitor_by_itself_is_sampled() -> None:
    writer, trainer = MemoryWriter(), Engine(lambda engine, batch: batch)
    LossMonitor(writer, 100).attach(trainer)
    trainer.run(VALUES)
    assert [i for i, _ in writer.scalars["loss/total"]] == [1, 100, 200, 300]


@pytest.mark.parametrize("returns_loss", [True, False])
def test_the_training_loss_is_beside_validations_under_one_tag(
    tmp_path: Path, returns_loss: bool
) -> None:
    """Of the whole set, with the weights at that iteration: within one percent it is the same."""
    torch.manual_seed(0)
    model, loss_fn = nn.Linear(4, 3), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    x, y = torch.randn(200, 4), torch.randint(0, 3, (200,))
    parts = {"train": slice(0, 130), "validation": slice(130, 200)}
    data = {name: list(zip(x[p].split(32), y[p].split(32), strict=True)) for name, p in
            parts.items()}  # fmt: skip

    def evaluate(engine: Engine, batch: Any) -> dict[str, Any]:
        with torch.no_grad():
            y_pred = model(batch[0])
        found = {"y_pred": y_pred, "y": batch[1]}
        return found | {"loss": loss_fn(y_pred, batch[1])} if returns_loss else found

    trainer = create_supervised_trainer(model, optimizer, loss_fn)
    evaluators = {name: Engine(evaluate) for name in parts}
    truth: dict[str, list[tuple[int, float]]] = {name: [] for name in parts}

    @trainer.on(Events.EPOCH_COMPLETED)
    def run() -> None:
        for name, part in parts.items():
            with torch.no_grad():
                loss = float(loss_fn(model(x[part]), y[part]))
            truth[name].append((trainer.state.iteration, loss))
            evaluators[name].run(data[name])

    with attach_monitors(
        trainer, model=model, optimizers=optimizer, loss_fn=loss_fn, evaluators=evaluators,
        writer=tmp_path, every=1000,
    ):  # fmt: skip
        trainer.run(data["train"], max_epochs=4)
    for name in parts:
        found = [(e.step, e.value) for e in accumulated(tmp_path / name).Scalars("metrics/loss")]
        assert [step for step, _ in found] == [step for step, _ in truth[name]]
        assert [v for _, v in found] == pytest.approx([v for _, v in truth[name]], rel=1e-3)
    # On train the losses of the iterations keep their own tags.
    train = accumulated(tmp_path / "train")
    assert [e.step for e in train.Scalars("loss/total")] == list(range(1, 21))
    assert "10,000" in train.SummaryMetadata("loss/total").summary_description


def test_an_ignite_metric_called_loss_keeps_its_tag() -> None:
    from ignite.metrics import Loss

    model, loss_fn = nn.Linear(4, 3), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    trainer = create_supervised_trainer(model, optimizer, loss_fn)
    evaluator = create_supervised_evaluator(model, metrics={"loss": Loss(loss_fn)})
    data = [(torch.randn(8, 4), torch.randint(0, 3, (8,)))]
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(data))
    writer = MemoryWriter()
    with attach_monitors(
        trainer, model=model, optimizers=optimizer, loss_fn=loss_fn, evaluators=evaluator,
        writer=writer,
    ):  # fmt: skip
        trainer.run(data)
    ((step, value),) = writer.subruns["validation"].scalars["metrics/loss"]
    assert step == 1
    assert value == evaluator.state.metrics["loss"]


class ShortWay(MemoryWriter):
    """Has a short way for points, which raises from the `broken`-th call on."""

    def __init__(self, broken: int) -> None:
        super().__init__()
        self.broken, self.calls = broken, 0

    def points(self, curve: Curve) -> Any:
        def keep(step: int, values: Any) -> None:
            self.calls += 1
            if self.calls >= self.broken:
                raise RuntimeError("broken on purpose")
            self.write_scalars(step, Point(curve, values))

        return keep


@pytest.mark.parametrize("broken", [1, 5, N - 1])
def test_every_point_is_written_where_the_short_way_of_a_writer_raises(broken: int) -> None:
    writer = ShortWay(broken)
    trainer = Engine(lambda engine, batch: torch.tensor(batch))
    monitor = LossMonitor(writer, Sampler(1_000_000), every_iteration=True)
    monitor.attach(trainer)
    trainer.run(VALUES)
    assert writer.calls >= broken - 1
    assert monitor.guard.failure is None
    assert f"last at iteration {N}" in str(monitor.writer)
    found = writer.scalars["loss/total"]
    assert [step for step, _ in found] == list(range(1, N + 1))
    assert [value for _, value in found] == pytest.approx(VALUES)


@pytest.mark.parametrize("key", ["loss", "batch loss"])
def test_a_loss_that_the_curve_has_read_alarms_the_budget(key: str) -> None:
    sampled: list[int] = []

    def step(engine: Engine, batch: int) -> Any:
        if sampler.is_due:
            sampled.append(batch)
        return {key: torch.tensor(math.nan if batch == 150 else 1.0), "lr": 0.5}

    trainer = Engine(step)
    sampler = Sampler(Budget(1e-9))
    LossMonitor(MemoryWriter(), sampler, every_iteration=True).attach(trainer)
    trainer.run(list(range(1, 501)))
    assert set(range(151, 161)) <= set(sampled)  # the ten behind it
    assert len(sampled) < 100
