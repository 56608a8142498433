"""The whole checklist in one call, on engines of all sorts."""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import (
    Engine,
    Events,
    create_supervised_evaluator,
    create_supervised_trainer,
)
from ignite.metrics import Accuracy
from torch import Tensor, nn

from tests.handlers.leftovers import leftovers
from trainkit.handlers import Sampler, attach_monitors
from trainkit.writers import MemoryWriter


def supervised(
    model: nn.Module, loss_fn: Callable[..., Any], **more: Any
) -> tuple[Engine, torch.optim.Optimizer]:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    def both(x: Any, y: Any, y_pred: Any, loss: Tensor) -> dict[str, Any]:
        return {"loss": loss, "y_pred": y_pred, "y": y}

    return (
        create_supervised_trainer(model, optimizer, loss_fn, output_transform=both, **more),
        optimizer,
    )


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "trainkit"]


def test_everything_of_the_checklist_is_there(caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    loss_fn = nn.CrossEntropyLoss()
    trainer, optimizer = supervised(model, loss_fn)
    evaluator = create_supervised_evaluator(model, metrics={"accuracy": Accuracy()})
    data = [(torch.randn(6, 4), torch.randint(0, 3, (6,))) for _ in range(4)]
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(list(data)))
    train, validation = MemoryWriter(), MemoryWriter()
    attached = attach_monitors(
        trainer, model=model, optimizers=optimizer, loss_fn=loss_fn, evaluators=evaluator,
        writer={"train": train, "validation": validation}, histograms_every=2,
    )  # fmt: skip
    trainer.run(data, max_epochs=2)
    assert {
        "loss/total", "predictions/entropy", "predictions/entropy_normalized",
        "predictions/confidence", "predictions/margin", "gradients/global_norm_raw",
        "gradients/global_norm", "gradients/clipped", "gradients/non_finite",
        "tensors.gradients.norm/0.weight", "weights/global_norm", "tensors.weights.std/2.bias",
        "updates/global_ratio", "updates/log10_global_ratio", "gradients/log10_global_norm",
        "tensors.updates.ratio/0.weight", "tensors.activations.dead_fraction/1",
        "tensors/dead_fraction_max", "tensors/log10_gradient_norm_min",
        "hyperparameters/lr", "throughput/samples_per_second", "throughput/iteration_seconds",
        "throughput/data_wait_fraction", "monitor/overhead_fraction", "monitor/every",
    } <= set(train.scalars)  # fmt: skip
    assert any(tag.startswith("memory/") for tag in train.scalars)
    assert {
        "tensors.gradients.histogram/0.weight", "tensors.weights.histogram/0.weight",
        "predictions/probability",
    } <= set(train.histograms)  # fmt: skip
    assert {
        "loss/total", "metrics/accuracy", "predictions/entropy",
        "predictions/expected_calibration_error",
    } <= set(validation.scalars)  # fmt: skip
    x, y = (torch.cat(part) for part in zip(*data, strict=True))
    last = [float(value) for _, value in validation.scalars["loss/total"]][-1]
    assert last == pytest.approx(loss_fn(model(x), y).item(), rel=1e-5)
    assert [step for step, _ in validation.scalars["loss/total"]] == [4, 8]
    assert not attached.failures, attached.report()
    line = next(line for line in attached.report().splitlines() if "GradientMonitor" in line)
    tags = [tag for tag in {**train.scalars, **train.histograms} if "gradient" in tag]
    assert line == f"train/GradientMonitor: {len(tags)} tags written, last at iteration 8"
    assert line in repr(attached)
    assert messages(caplog) == []
    attached.remove()
    assert leftovers(model, optimizer, trainer) == []


def test_switches_and_one_sampler() -> None:
    model = nn.Linear(4, 3)
    trainer, optimizer = supervised(model, nn.CrossEntropyLoss())
    writer, sampler = MemoryWriter(), Sampler(3)
    with attach_monitors(
        trainer, model=model, optimizers=optimizer, writer=writer, every=sampler,
        loss_fn=nn.CrossEntropyLoss(), gradients=False, weights=False, updates=False,
        activations=False, memory=False, cost=False, throughput=False, hyperparameters=False,
        metrics=False,
    ) as attached:  # fmt: skip
        trainer.run([(torch.randn(6, 4), torch.randint(0, 3, (6,)))] * 7)
        assert attached.sampler is sampler
    assert {tag.split("/")[0] for tag in writer.scalars} == {
        "loss", "predictions", "predictions.share",
    }  # fmt: skip
    assert [step for step, _ in writer.scalars["predictions/entropy"]] == [1, 3, 6]
    assert [step for step, _ in writer.scalars["loss/total"]] == [1, 2, 3, 4, 5, 6, 7]


def test_watching_twice_is_refused_until_removed() -> None:
    model = nn.Linear(4, 3)
    trainer, optimizer = supervised(model, nn.MSELoss())
    evaluator = create_supervised_evaluator(model)
    common: dict[str, Any] = {"model": model, "optimizers": optimizer, "writer": MemoryWriter()}
    attached = attach_monitors(trainer, evaluators=evaluator, **common)
    with pytest.raises(ValueError, match="the trainer is watched already"):
        attach_monitors(trainer, **common)
    with pytest.raises(ValueError, match="again is watched already"):
        attach_monitors(Engine(lambda e, b: None), evaluators={"again": evaluator}, **common)
    attached.remove()
    attached.remove()
    attach_monitors(trainer, evaluators=evaluator, **common).remove()
    assert leftovers(model, optimizer, trainer, evaluator) == []


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"every": 0}, ValueError, "at least 1 iteration, got 0"),
        ({"every": "often"}, TypeError, "often"),
        ({"writer": 3}, TypeError, "write_scalars.*got 3"),
        ({"writer": {"train": MemoryWriter()}}, ValueError, "validation missing, got train"),
        ({"evaluators": {"validation": 3}}, TypeError, "validation must be an ignite Engine"),
        ({"predictions": "scores"}, ValueError, "kind must be one of"),
        ({"optimizers": 3}, TypeError, "3"),
        ({"model": 3}, TypeError, "3"),
        ({"detail": "most"}, ValueError, "most"),
        ({"scheduled": {"a": 1}}, TypeError, "scheduled"),
    ],
)
def test_wrong_arguments_leave_nothing_attached(
    wrong: dict[str, Any], error: type[Exception], words: str
) -> None:
    model = nn.Linear(4, 3)
    trainer, optimizer = supervised(model, nn.MSELoss())
    evaluator = create_supervised_evaluator(model)
    common = {"model": model, "optimizers": optimizer, "writer": MemoryWriter()}
    with pytest.raises(error, match=words):
        attach_monitors(trainer, **({"evaluators": evaluator} | common | wrong))
    assert leftovers(model, optimizer, trainer, evaluator) == []
    attach_monitors(trainer, evaluators=evaluator, **common).remove()


def test_a_folder_holds_a_folder_of_event_files_for_each(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model = nn.Linear(4, 3)
    trainer, optimizer = supervised(model, nn.MSELoss())
    evaluator = create_supervised_evaluator(model)
    data = [(torch.randn(6, 4), torch.randn(6, 3))] * 3
    trainer.add_event_handler(Events.COMPLETED, lambda: evaluator.run(data))
    attached = attach_monitors(
        trainer, model=model, optimizers=optimizer, loss_fn=nn.MSELoss(), writer=tmp_path,
        evaluators=evaluator,
    )  # fmt: skip

    def steps(name: str) -> list[int]:
        events = EventAccumulator(str(tmp_path / name))
        events.Reload()
        return [event.step for event in events.Scalars("loss/total")]

    trainer.run(data)
    assert (steps("train"), steps("validation")) == ([1, 2, 3], [3])  # flushed, not closed
    trainer.run(data, max_epochs=2)
    attached.remove()
    assert steps("train")[-1] == 6
    assert steps("validation")[-1] == 6
    assert not attached.failures


def test_an_evaluator_called_train_adds_metrics_to_the_trainers() -> None:
    model = nn.Linear(4, 3)
    loss_fn = nn.CrossEntropyLoss()
    trainer, optimizer = supervised(model, loss_fn)
    evaluator = create_supervised_evaluator(model, metrics={"accuracy": Accuracy()})
    data = [(torch.randn(6, 4), torch.randint(0, 3, (6,)))] * 3
    trainer.add_event_handler(Events.COMPLETED, lambda: evaluator.run(data))
    writer = MemoryWriter()
    with attach_monitors(
        trainer, model=model, optimizers=optimizer, loss_fn=loss_fn, writer=writer,
        evaluators={"train": evaluator},
    ) as attached:  # fmt: skip
        trainer.run(data)
        assert not attached.failures
    assert len(writer.scalars["metrics/accuracy"]) == 1
    assert len(writer.scalars["loss/total"]) == 3


def test_other_processes_watch_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ignite.distributed.get_rank", lambda: 1)
    model = nn.Linear(4, 3)
    trainer, optimizer = supervised(model, nn.MSELoss())
    writer = MemoryWriter()
    attached = attach_monitors(trainer, model=model, optimizers=optimizer, writer=writer)
    trainer.run([(torch.randn(6, 4), torch.randn(6, 3))])
    assert not writer.scalars
    assert leftovers(model, optimizer, trainer) == []
    attached.remove()


# --- engines that were not written for this ---------------------------------------------------


def odd_output(output: Any) -> tuple[Engine, nn.Module, torch.optim.Optimizer]:
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(engine: Engine, batch: Tensor) -> Any:
        optimizer.zero_grad()
        loss = model(batch).pow(2).mean()
        loss.backward()
        optimizer.step()
        return output(loss) if callable(output) else output

    return Engine(step), model, optimizer


@pytest.mark.parametrize(
    ("output", "tags", "lines"),
    [
        (None, set(), ["loss/total", "predictions"]),
        (lambda loss: loss.item(), {"loss/total"}, ["predictions"]),
        (lambda loss: loss, {"loss/total"}, ["predictions"]),
        (lambda loss: (loss.item(), 2.0), {"output/0", "output/1"}, ["loss/total", "predictions"]),
        (lambda loss: {"batch loss": loss.item()}, {"loss/total"}, ["predictions"]),
        (lambda loss: {"errD": loss.item()}, {"output/errD"}, ["loss/total", "predictions"]),
        ("done", set(), ["losses and predictions"]),
        (lambda loss: (loss, torch.zeros(4, 2), "x"), set(), ["losses and predictions"]),
        (lambda loss: {"loss": loss, "y_pred": (torch.zeros(4, 2),)}, {"loss/total"},
         ["predictions"]),
    ],
)  # fmt: skip
def test_odd_outputs_lose_only_what_they_lack(
    output: Any, tags: set[str], lines: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    trainer, model, optimizer = odd_output(output)
    writer = MemoryWriter()
    with attach_monitors(
        trainer, model=model, optimizers=optimizer, writer=writer, predictions="values"
    ) as attached:
        trainer.run(torch.randn(5, 4, 2))
        assert not attached.failures
    found = {tag for tag in writer.scalars if tag.split("/")[0] in ("loss", "output")}
    assert found == tags
    assert len(writer.scalars["gradients/global_norm"]) == 5
    assert [re.split(" (is|are) left out", line)[0] for line in messages(caplog)] == lines


def test_a_loss_that_does_not_tell_costs_one_line(caplog: pytest.LogCaptureFixture) -> None:
    trainer, model, optimizer = odd_output(lambda loss: loss)
    with attach_monitors(
        trainer, model=model, optimizers=optimizer, writer=MemoryWriter(),
        loss_fn=lambda y_pred, y: 0,
    ):  # fmt: skip
        trainer.run(torch.randn(3, 4, 2))
    (line,) = messages(caplog)
    assert line.startswith("predictions are left out: the loss <lambda> does not tell")


def test_dict_batches_and_dict_outputs_of_a_text_classifier() -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({"embed": nn.EmbeddingBag(20, 8), "head": nn.Linear(8, 4)})
    optimizer = torch.optim.AdamW(
        [{"params": model["embed"].parameters(), "lr": 1e-3, "name": "embed"},
         {"params": model["head"].parameters(), "lr": 1e-2, "name": "head"}]
    )  # fmt: skip

    def step(engine: Engine, batch: dict[str, Tensor]) -> dict[str, Any]:
        logits = model["head"](model["embed"](batch["tokens"]))
        loss = nn.functional.cross_entropy(logits, batch["label"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"loss": loss.item(), "logits": logits, "labels": batch["label"]}

    def evaluate(engine: Engine, batch: dict[str, Tensor]) -> dict[str, Any]:
        with torch.no_grad():
            logits = model["head"](model["embed"](batch["tokens"]))
        return {"logits": logits, "labels": batch["label"]}

    trainer, evaluator, writer = Engine(step), Engine(evaluate), MemoryWriter()
    data = [
        {"tokens": torch.randint(0, 20, (5, 7)), "label": torch.randint(0, 4, (5,))}
        for _ in range(4)
    ]
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(data))
    validation = MemoryWriter()
    with attach_monitors(
        trainer, model=model, optimizers=optimizer, evaluators={"dev": evaluator},
        loss_fn=nn.functional.cross_entropy, writer={"train": writer, "dev": validation},
        output_transform=lambda o: {"loss": o.get("loss"), "y_pred": o["logits"], "y": o["labels"]},
    ) as attached:  # fmt: skip
        trainer.run(data, max_epochs=2)
        assert not attached.failures, attached.report()
    assert len(writer.scalars["predictions/entropy"]) == 8
    assert float(writer.scalars["throughput/samples_per_second"][-1][1]) > 0
    assert "hyperparameters/embed/lr" in writer.scalars
    assert {"loss/total", "predictions/overconfidence"} <= set(validation.scalars)


def test_segmentation_with_an_ignored_border() -> None:
    torch.manual_seed(0)
    model, loss_fn = nn.Conv2d(1, 3, 3, padding=1), nn.CrossEntropyLoss(ignore_index=255)
    trainer, optimizer = supervised(model, loss_fn)
    x, y = torch.randn(2, 1, 6, 6), torch.randint(0, 3, (2, 6, 6))
    y[:, 0] = 255
    evaluator, validation = create_supervised_evaluator(model), MemoryWriter()
    with attach_monitors(
        trainer, model=model, optimizers=optimizer, evaluators=evaluator, loss_fn=loss_fn,
        writer={"train": MemoryWriter(), "validation": validation},
    ) as attached:  # fmt: skip
        trainer.run([(x, y)])
        evaluator.run([(x, y)])
        assert not attached.failures, attached.report()
    with torch.no_grad():
        p = model(x).softmax(1).movedim(1, -1)[y != 255]
    expected = p.max(1).values.mean().item()
    found = float(validation.scalars["predictions/confidence"][0][1])
    assert found == pytest.approx(expected, rel=1e-6)


def test_multi_label() -> None:
    model, loss_fn = nn.Linear(4, 5), nn.BCEWithLogitsLoss()
    trainer, optimizer = supervised(model, loss_fn)
    writer = MemoryWriter()
    with attach_monitors(
        trainer, model=model, optimizers=optimizer, loss_fn=loss_fn, writer=writer
    ) as attached:
        trainer.run([(torch.randn(6, 4), torch.randint(0, 2, (6, 5)).float())])
        assert not attached.failures
    assert {f"predictions.share/{i}" for i in range(5)} <= set(writer.scalars)


def test_actor_critic_that_steps_once_an_episode(caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    optimizer = torch.optim.Adam(model.parameters())
    log_p: list[Tensor] = []

    def step(engine: Engine, batch: Tensor) -> None:
        log_p.append(model(batch).log_softmax(-1)[0])

    trainer, writer = Engine(step), MemoryWriter()

    @trainer.on(Events.EPOCH_COMPLETED)
    def finish_episode() -> None:
        optimizer.zero_grad()
        (-torch.stack(log_p).sum()).backward()
        optimizer.step()
        log_p.clear()

    with attach_monitors(trainer, model=model, optimizers=optimizer, writer=writer) as attached:
        trainer.run([torch.randn(4)] * 5, max_epochs=3)
        assert not attached.failures, attached.report()
    assert len(writer.scalars["gradients/global_norm"]) == 3
    assert logging.ERROR not in {r.levelno for r in caplog.records}


def two_evaluators(
    loss_fn: Callable[..., Any], **more: Any
) -> tuple[Engine, list[Engine], nn.Module, MemoryWriter, Any]:
    """A trainer whose output is a dict without `loss`, and evaluators that return `(y_pred, y)`."""
    torch.manual_seed(0)
    trainer, model, optimizer = odd_output(lambda loss: {"batch loss": loss.item(), "n": 4})
    evaluators = [create_supervised_evaluator(model), create_supervised_evaluator(model)]
    writer = MemoryWriter()
    attached = attach_monitors(
        trainer, model=model, optimizers=optimizer, writer=writer, loss_fn=loss_fn,
        predictions="values", evaluators={"validation": evaluators[0], "test": evaluators[1]},
        **more,
    )  # fmt: skip
    return trainer, evaluators, model, writer, attached


def pairs(n: int = 3) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(2)
    return [
        (torch.randn(4, 2, generator=generator), torch.randn(4, 1, generator=generator))
        for _ in range(n)
    ]


def test_each_engine_has_an_output_transform_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    trainer, evaluators, model, writer, attached = two_evaluators(
        nn.MSELoss(),
        output_transform={
            "trainer": lambda output: {"loss": output["batch loss"]},
            "test": lambda output: (output[0] * 2, output[1]),
        },
    )
    seen: list[float] = []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda e: seen.append(e.state.output["batch loss"])
    )
    trainer.run(torch.randn(3, 4, 2))
    for evaluator in evaluators:
        evaluator.run(pairs())
    assert not attached.failures
    assert [v for _, v in writer.scalars["loss/total"]] == pytest.approx(seen)
    with torch.no_grad():
        expected = {
            name: sum(nn.functional.mse_loss(k * model(x), y).item() for x, y in pairs()) / 3
            for name, k in (("validation", 1), ("test", 2))
        }
    for name, value in expected.items():
        assert writer.subruns[name].scalars["loss/total"] == [(3, pytest.approx(value, rel=1e-5))]
    (line,) = messages(caplog)
    assert line.startswith("predictions are left out: the engine's output has no y_pred")
    attached.remove()


@pytest.mark.parametrize(
    ("transform", "error", "message"),
    [
        ({"train": len}, ValueError, "names the engine 'train'; there is trainer, validation, t"),
        ({"trainer": 1}, TypeError, "must be a function, or a mapping from 'trainer'.*got 1"),
        ("loss", TypeError, "must be a function, or a mapping from 'trainer'.*got 'loss'"),
    ],
)
def test_what_is_no_output_transform(transform: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        two_evaluators(nn.MSELoss(), output_transform=transform)


def test_an_evaluator_that_an_output_transform_does_not_fit_is_read_as_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls: list[object] = []

    def transform(output: Any) -> Any:
        calls.append(output)
        return {"loss": output["batch loss"]}

    trainer, evaluators, model, writer, attached = two_evaluators(
        nn.MSELoss(), output_transform=transform
    )
    trainer.run(torch.randn(3, 4, 2))
    evaluators[0].run(pairs())
    assert len(writer.scalars["loss/total"]) == 3
    assert len(calls) == 4  # for all monitors of an iteration, and no second time on an evaluator
    with torch.no_grad():
        expected = sum(nn.functional.mse_loss(model(x), y).item() for x, y in pairs()) / 3
    ((_, value),) = writer.subruns["validation"].scalars["loss/total"]
    assert value == pytest.approx(expected)
    assert not attached.failures
    (line,) = [line for line in messages(caplog) if "is read as it is" in line]
    assert "does not take the engine's output, tuple(Tensor[4, 1], Tensor[4, 1])" in line
    assert "output_transform={'trainer': ..., 'validation': ...}" in line
    attached.remove()


def test_a_loss_that_is_not_known_is_not_called(caplog: pytest.LogCaptureFixture) -> None:
    trainer, evaluators, _, writer, attached = two_evaluators(nn.TripletMarginLoss())
    trainer.run(torch.randn(3, 4, 2))
    for _ in range(2):
        evaluators[0].run(pairs())
    assert not attached.failures
    assert "predictions/mean" in writer.subruns["validation"].scalars
    assert "loss/total" not in writer.subruns["validation"].scalars
    (line,) = [line for line in messages(caplog) if "loss/total is left out" in line]
    assert line.startswith("validation: ")
    assert "TripletMarginLoss() is not called for it" in line
    assert "Return the loss too, in a dict with 'loss'" in line
    attached.remove()


def test_an_evaluator_that_runs_again_at_the_same_iteration(
    caplog: pytest.LogCaptureFixture,
) -> None:
    trainer, evaluators, _, writer, attached = two_evaluators(nn.MSELoss())
    data, other = pairs(), pairs(5)
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED | Events.COMPLETED, lambda: [e.run(data) for e in evaluators]
    )
    with caplog.at_level(logging.INFO, "trainkit"):
        trainer.run(torch.randn(3, 4, 2), max_epochs=2)

        def again() -> list[str]:
            return [
                f"{r.levelname} {r.getMessage()}"
                for r in caplog.records
                if "more than once" in r.getMessage()
            ]

        assert len(again()) == 2  # one for each evaluator, however many monitors
        assert all(line.startswith("INFO") and "on the same data" in line for line in again())
        evaluators[0].run(other)
        evaluators[0].run(other)
        assert len(again()) == 3
        assert again()[2].startswith("WARNING")
        assert "on different data" in again()[2]
    assert [step for step, _ in writer.subruns["test"].scalars["loss/total"]] == [3, 6]
    attached.remove()
