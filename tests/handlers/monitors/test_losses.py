"""The loss on a trainer and over a whole evaluation."""

import logging
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from trainkit.handlers.monitors.losses import LossMonitor
from trainkit.writers import MemoryWriter


def test_a_trainer_writes_each_sampled_iteration() -> None:
    writer = MemoryWriter()
    trainer = Engine(lambda e, b: {"loss": b, "losses": {"a": b - 1, "b": torch.tensor(1.0)}})
    LossMonitor(writer, every=2).attach(trainer)
    trainer.run([torch.tensor(float(i)) for i in range(1, 6)])
    assert writer.scalars["loss/total"] == [(1, 1.0), (2, 2.0), (4, 4.0)]
    assert writer.scalars["loss/a"] == [(1, 0.0), (2, 1.0), (4, 3.0)]


def test_an_evaluator_writes_the_mean_over_samples_with_unequal_batches() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(23, 4, generator=generator), torch.randint(0, 4, (23,), generator=generator)
    loss_fn = nn.CrossEntropyLoss()
    writer = MemoryWriter()
    trainer = Engine(lambda e, b: None)
    evaluator = Engine(lambda e, b: {"loss": loss_fn(*b), "y_pred": b[0], "y": b[1]})
    LossMonitor(writer, trainer=trainer).attach(evaluator)
    batches = list(zip(x.split(8), y.split(8), strict=True))
    trainer.add_event_handler(Events.ITERATION_COMPLETED(every=3), lambda: evaluator.run(batches))
    trainer.run(range(6))
    (first, value), (second, again) = writer.scalars["loss/total"]
    assert (first, second) == (3, 6)
    assert value == again == pytest.approx(loss_fn(x.double(), y).item(), rel=1e-6)


def test_a_nan_is_shown() -> None:
    writer = MemoryWriter()
    trainer = Engine(lambda e, b: torch.tensor(torch.nan))
    LossMonitor(writer).attach(trainer)
    trainer.run([0])
    assert writer.scalars["loss/total"][0][1] != writer.scalars["loss/total"][0][1]


def test_what_is_missing_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    writer = MemoryWriter()
    trainer = Engine(lambda e, b: {"errD": 1.0})
    LossMonitor(writer).attach(trainer)
    with caplog.at_level(logging.WARNING, "trainkit"):
        trainer.run(range(4))
    assert [r.getMessage() for r in caplog.records if "loss/total is left out" in r.getMessage()]
    assert len(caplog.records) == 1
    assert writer.scalars["output/errD"] == [(i, 1.0) for i in range(1, 5)]


def test_an_output_transform_is_used_and_its_fault_disables(
    caplog: pytest.LogCaptureFixture,
) -> None:
    writer = MemoryWriter()
    trainer = Engine(lambda e, b: (b, "x"))
    LossMonitor(writer, output_transform=lambda o: o[0]).attach(trainer)
    wrong = LossMonitor(writer, output_transform=lambda o: o[2])
    wrong.attach(trainer)
    trainer.run([1.0, 2.0])
    assert writer.scalars["loss/total"] == [(1, 1.0), (2, 2.0)]
    assert "does not take the engine's output, tuple(float, str)" in str(wrong.guard.failure)
    assert isinstance(wrong.guard.failure.__cause__, IndexError)
    assert caplog.text.count("LossMonitor failed and is disabled") == 1


def test_removing_leaves_nothing_and_attaching_twice_is_refused() -> None:
    trainer, evaluator = Engine(lambda e, b: 1.0), Engine(lambda e, b: 1.0)
    for monitor, engine in (
        (LossMonitor(MemoryWriter()), trainer),
        (LossMonitor(MemoryWriter(), trainer=trainer), evaluator),
    ):
        with monitor.attach(engine) as handle:
            with pytest.raises(ValueError, match="attached already"):
                monitor.attach(engine)
            assert any(engine._event_handlers.values())
        assert not any(engine._event_handlers.values())
        handle.remove()
        monitor.attach(engine).remove()


def test_a_pass_that_was_cut_short_is_forgotten() -> None:
    writer, trainer = MemoryWriter(), Engine(lambda e, b: None)

    def fail(engine: Engine, batch: float) -> float:
        if batch < 0:
            raise RuntimeError("no")
        return batch

    evaluator = Engine(fail)
    LossMonitor(writer, trainer=trainer).attach(evaluator)
    with pytest.raises(RuntimeError):
        evaluator.run([100.0, -1.0])
    evaluator.state.max_epochs = None  # else Ignite takes the pass for done
    evaluator.run([1.0, 3.0])
    assert writer.scalars["loss/total"] == [(0, 2.0)]


def test_an_evaluator_for_two_data_sets_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    writer, trainer, evaluator = (
        MemoryWriter(), Engine(lambda e, b: None), Engine(lambda e, b: b),
    )  # fmt: skip
    LossMonitor(writer, trainer=trainer).attach(evaluator)
    evaluator.run([1.0])
    evaluator.run([2.0])
    assert writer.scalars["loss/total"] == [(0, 1.0)]
    assert "an evaluator of its own" in caplog.text


@pytest.mark.parametrize("returned", ["loss", "loss and logits", "a number", "all"])
@pytest.mark.parametrize("batched", ["pair", "mapping"])
@pytest.mark.parametrize("weight", [None, torch.tensor([0.25, 1.0, 4.0])])
def test_an_evaluators_loss_is_weighted_by_what_it_averages_over(
    returned: str, batched: str, weight: torch.Tensor | None
) -> None:
    loss_fn = torch.nn.CrossEntropyLoss(weight=weight)
    generator = torch.Generator().manual_seed(0)
    batches = []
    for n in (6, 1):
        y = torch.randint(0, 3, (n, 5), generator=generator)
        y[:, 3:] = y[: n // 2] = -100  # tokens that do not count
        batches.append((torch.randn(n, 3, 5, generator=generator), y))

    def evaluate(engine: Engine, batch: Any) -> Any:
        y_pred, y = batch if isinstance(batch, tuple) else (batch["x"], batch["labels"])
        loss = loss_fn(y_pred, y)
        return {
            "loss": {"loss": loss},
            "loss and logits": {"loss": loss, "logits": y_pred},
            "a number": loss.item(),
            "all": {"loss": loss, "y_pred": y_pred, "y": y},
        }[returned]

    writer, evaluator = MemoryWriter(), Engine(evaluate)
    LossMonitor(writer, loss_fn=loss_fn, trainer=Engine(lambda e, b: None)).attach(evaluator)
    evaluator.run(batches if batched == "pair" else [{"x": x, "labels": y} for x, y in batches])
    y_pred, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    ((_, found),) = writer.scalars["loss/total"]
    assert float(found) == pytest.approx(loss_fn(y_pred, y).item(), rel=1e-6)
