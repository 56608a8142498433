"""Which data an evaluator ran over decides where the numbers of that pass stand."""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events, create_supervised_evaluator, create_supervised_trainer
from ignite.metrics import Accuracy
from torch.utils.data import DataLoader, Subset, SubsetRandomSampler, TensorDataset

from tests.writers.reading import raw_scalars
from trainkit import MemoryWriter, attach_monitors
from trainkit.handlers.monitors.losses import LossMonitor

X = torch.tensor([[1.0, 0, 0, 0]] * 4)
TRAIN, HALF, MOST = (
    torch.tensor([0, 0, 0, 0]),
    torch.tensor([0, 0, 1, 1]),
    torch.tensor([0, 0, 0, 1]),
)


def shared() -> tuple[Engine, Engine, dict[str, Any]]:
    """A trainer, an evaluator, and what `attach_monitors` needs to watch both; 0 is predicted."""
    model = torch.nn.Linear(4, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 0, 0, 0], [-1.0, 0, 0, 0]]))
        model.bias.zero_()
    sgd = torch.optim.SGD(model.parameters(), lr=0.0)
    trainer = create_supervised_trainer(model, sgd, torch.nn.CrossEntropyLoss())
    evaluator = create_supervised_evaluator(model, {"accuracy": Accuracy()})
    return trainer, evaluator, {"model": model, "optimizers": sgd, "evaluators": evaluator}


def accuracies(
    evaluate: Callable[[Engine], object], data: Any, event: Any = Events.EPOCH_COMPLETED
) -> tuple[Any, Any]:
    """Those under train and under validation, of two epochs that end with `evaluate`."""
    trainer, evaluator, options = shared()
    writer = MemoryWriter()
    trainer.add_event_handler(event, lambda: evaluate(evaluator))
    with attach_monitors(
        trainer, **options, loss_fn=torch.nn.CrossEntropyLoss(), predictions="logits", writer=writer
    ) as attached:
        trainer.run(data, max_epochs=2)
        assert not attached.failures
    validation = writer.subruns["validation"].scalars
    assert len(validation.get("loss/total", ())) == len(validation.get("metrics/accuracy", ()))
    return writer.scalars.get("metrics/accuracy"), validation.get("metrics/accuracy")


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        r.getMessage()
        for r in caplog.records
        if r.levelno >= logging.WARNING and " ran " in r.getMessage()
    ]


train, validation, other = [(X, TRAIN)], [(X, MOST)], [(X, HALF)]


@pytest.mark.parametrize("order", [(train, validation), (validation, train)])
def test_one_evaluator_for_training_and_validation_data(
    order: tuple[Any, ...], caplog: pytest.LogCaptureFixture
) -> None:
    found = accuracies(lambda evaluator: [evaluator.run(data) for data in order], train)
    assert found == ([(1, 1.0), (2, 1.0)], [(1, 0.75), (2, 0.75)])
    assert warnings(caplog) == []


def test_in_handlers_of_their_own() -> None:
    trainer, evaluator, options = shared()
    writer = MemoryWriter()
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(train))
    attach_monitors(trainer, **options, writer=writer, predictions=None)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(validation))
    trainer.run(train, max_epochs=2)
    assert writer.scalars["metrics/accuracy"] == [(1, 1.0), (2, 1.0)]
    assert writer.subruns["validation"].scalars["metrics/accuracy"] == [(1, 0.75), (2, 0.75)]


def test_validation_that_comes_only_when_training_is_over() -> None:
    trainer, evaluator, options = shared()
    writer = MemoryWriter()
    attach_monitors(trainer, **options, writer=writer, predictions=None)
    trainer.add_event_handler(Events.COMPLETED, lambda: evaluator.run(train))
    trainer.add_event_handler(Events.COMPLETED, lambda: evaluator.run(validation))
    trainer.run(train)
    assert writer.scalars["metrics/accuracy"] == [(1, 1.0)]
    assert writer.subruns["validation"].scalars["metrics/accuracy"] == [(1, 0.75)]


def test_a_third_data_set_in_one_iteration_is_left_out_with_a_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    found = accuracies(
        lambda evaluator: [evaluator.run(data) for data in (train, validation, other)], train
    )
    assert found == ([(1, 1.0), (2, 1.0)], [(1, 0.75), (2, 0.75)])
    (line,) = warnings(caplog)
    assert "'validation' ran more than once at iteration 1, on different data" in line


def test_loaders_of_the_same_data_set_are_the_same_data() -> None:
    data = TensorDataset(X, TRAIN)
    found = accuracies(
        lambda evaluator: [
            evaluator.run(DataLoader(data, batch_size=2)),
            evaluator.run(DataLoader(TensorDataset(X, MOST), batch_size=2)),
        ],
        DataLoader(data, batch_size=4, shuffle=True),
    )
    assert found == ([(1, 1.0), (2, 1.0)], [(1, 0.75), (2, 0.75)])


@pytest.mark.parametrize("split", ["sampler", "subset"])
def test_two_parts_of_one_data_set_are_two(split: str) -> None:
    data = TensorDataset(X.repeat(2, 1), torch.cat([TRAIN, HALF]))
    loaders = [
        DataLoader(data, batch_size=4, sampler=SubsetRandomSampler(rows))
        if split == "sampler"
        else DataLoader(Subset(data, rows), batch_size=4)
        for rows in (range(4), range(4, 8))
    ]
    found = accuracies(lambda evaluator: [evaluator.run(each) for each in loaders], loaders[0])
    assert found == ([(1, 1.0), (2, 1.0)], [(1, 0.5), (2, 0.5)])


def test_an_evaluator_called_train_too() -> None:
    trainer, evaluator, options = shared()
    of_training = create_supervised_evaluator(options["model"], {"accuracy": Accuracy()})
    options["evaluators"] = {"train": of_training, "validation": evaluator}
    writer = MemoryWriter()
    attach_monitors(trainer, **options, writer=writer, predictions=None)

    @trainer.on(Events.EPOCH_COMPLETED)
    def evaluate() -> None:
        of_training.run(train)
        evaluator.run(validation)

    trainer.run(train, max_epochs=2)
    assert writer.scalars["metrics/accuracy"] == [(1, 1.0), (2, 1.0)]
    assert writer.subruns["validation"].scalars["metrics/accuracy"] == [(1, 0.75), (2, 0.75)]


def test_an_evaluator_that_never_runs_over_anything_else_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    found = accuracies(lambda evaluator: evaluator.run(train), train)
    assert found == (None, [(1, 1.0), (2, 1.0)])
    (line,) = warnings(caplog)
    assert "'validation' ran over the training data themselves at iteration 1" in line


def test_what_waits_is_in_the_files_when_training_is_over(tmp_path: Path) -> None:
    trainer, evaluator, options = shared()
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(train))
    attached = attach_monitors(trainer, **options, writer=tmp_path, predictions=None)
    trainer.run(train, max_epochs=2)
    found = raw_scalars(tmp_path / "validation")["metrics/accuracy"]
    attached.remove()
    assert [(step, value) for step, value in found] == [(1, 1.0), (2, 1.0)]


@pytest.mark.parametrize("event", [Events.EPOCH_COMPLETED | Events.COMPLETED])
def test_twice_at_one_step_over_the_same_data_is_once_and_no_warning(
    event: Any, caplog: pytest.LogCaptureFixture
) -> None:
    found = accuracies(
        lambda evaluator: [evaluator.run(data) for data in (train, validation)], train, event
    )
    assert found == ([(1, 1.0), (2, 1.0)], [(1, 0.75), (2, 0.75)])
    assert warnings(caplog) == []


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_second_run_of_the_trainer(
    in_memory: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = torch.nn.Linear(1, 1)
    counted = [0.0]
    trainer, evaluator = Engine(lambda e, b: 0.0), Engine(lambda e, b: counted[0])

    @trainer.on(Events.EPOCH_COMPLETED)
    def evaluate() -> None:
        counted[0] += 1
        evaluator.run([0])

    memory = MemoryWriter()
    with attach_monitors(
        trainer, model=model, optimizers=torch.optim.SGD(model.parameters(), lr=1.0),
        evaluators={"validation": evaluator}, writer=memory if in_memory else tmp_path,
        predictions=None,
    ):  # fmt: skip
        for _ in range(3):
            trainer.run([0, 0], max_epochs=1)
    found: Iterable[tuple[int, float]] = (
        memory.subruns["validation"].scalars["loss/total"]
        if in_memory
        else raw_scalars(tmp_path / "validation")["loss/total"]
    )
    assert [(step, value) for step, value in found] == [(2, 1.0), (2, 2.0), (2, 3.0)]
    lines = [r.getMessage() for r in caplog.records if "comes again" in r.getMessage()]
    assert len(lines) == 1  # the trainer's monitors say it, and the evaluators' do not repeat it
    assert "runs again" not in caplog.text


def test_a_run_that_goes_on_is_no_second_run(caplog: pytest.LogCaptureFixture) -> None:
    writer, trainer, evaluator = MemoryWriter(), Engine(lambda e, b: 0.0), Engine(lambda e, b: b)
    LossMonitor(writer, trainer=trainer).attach(evaluator)
    data = [1.0]
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(data))
    trainer.run([0, 0], max_epochs=1)
    trainer.run([0, 0], max_epochs=2)
    assert writer.scalars["loss/total"] == [(2, 1.0), (4, 1.0)]
    assert not [r for r in caplog.records if "twice" in r.getMessage()]


def test_nothing_is_left_after_remove() -> None:
    trainer, evaluator, options = shared()
    before = [sum(map(len, engine._event_handlers.values())) for engine in (trainer, evaluator)]
    attached = attach_monitors(trainer, **options, writer=MemoryWriter(), predictions=None)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(train))
    trainer.run(train)
    attached.remove()
    after = [sum(map(len, engine._event_handlers.values())) for engine in (trainer, evaluator)]
    assert after == [before[0] + 1, before[1]]


def test_a_writer_that_two_share_has_a_sub_run_for_the_second(
    caplog: pytest.LogCaptureFixture,
) -> None:
    trainer, evaluator, options = shared()
    writer = MemoryWriter()
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(validation))
    attach_monitors(
        trainer, **options, writer={"train": writer, "validation": writer}, predictions=None
    )
    trainer.run(train, max_epochs=1)
    assert "metrics/accuracy" not in writer.scalars
    assert writer.subruns["validation"].scalars["metrics/accuracy"] == [(1, 0.75)]
    assert "train and validation have the same writer" in caplog.text


@pytest.mark.parametrize(
    ("before", "at_start", "of_training"),
    [
        ([train, validation], [], [(0, 1.0), (1, 1.0)]),
        ([validation, train], [], [(0, 1.0), (1, 1.0)]),
        ([validation, validation], [], [(1, 1.0)]),
        ([train], [validation], [(0, 1.0), (1, 1.0)]),
        ([], [train, validation], [(0, 1.0), (1, 1.0)]),
    ],
)
def test_passes_before_the_trainer_ran_are_sorted_when_it_does(
    before: list[Any], at_start: list[Any], of_training: list[tuple[int, float]]
) -> None:
    trainer, evaluator, options = shared()
    writer = MemoryWriter()
    for event, several in (
        (Events.STARTED, at_start),
        (Events.EPOCH_COMPLETED, [train, validation]),
    ):
        trainer.add_event_handler(event, lambda _, data=several: [evaluator.run(d) for d in data])
    with attach_monitors(trainer, **options, predictions="logits", writer=writer):
        for data in before:
            evaluator.run(data)
        trainer.run(train, max_epochs=1)
    own = writer.subruns["validation"].scalars["metrics/accuracy"]
    assert own == [(0, 0.75), (1, 0.75)]
    assert writer.scalars["metrics/accuracy"] == of_training


def test_an_evaluation_without_any_training_is_written_at_the_end() -> None:
    trainer, evaluator, options = shared()
    writer = MemoryWriter()
    with attach_monitors(trainer, **options, predictions="logits", writer=writer):
        evaluator.run(validation)
    assert writer.subruns["validation"].scalars["metrics/accuracy"] == [(0, 0.75)]


def test_several_data_sets_in_turn_at_different_iterations_are_told_apart(
    caplog: pytest.LogCaptureFixture,
) -> None:
    trainer, evaluator, options = shared()
    writer = MemoryWriter()
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(validation))
    trainer.add_event_handler(Events.EPOCH_STARTED(every=2), lambda: evaluator.run(other))
    with attach_monitors(trainer, **options, predictions="logits", writer=writer):
        trainer.run(train * 2, max_epochs=6)
    found = writer.subruns["validation"].scalars["metrics/accuracy"]
    assert found == [(2, 0.75), *((step, 0.75) for step in (4, 6, 8, 10, 12))]
    assert len([line for line in warnings(caplog) if "ran more than once" in line]) == 1


def test_data_made_anew_for_each_pass_are_all_written(caplog: pytest.LogCaptureFixture) -> None:
    found = accuracies(lambda evaluator: evaluator.run([(X, MOST)]), train)
    assert found == (None, [(1, 0.75), (2, 0.75)])
    assert not warnings(caplog)
