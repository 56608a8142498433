"""Pictures at evaluations: what is written, when, and what it leaves alone."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from sklearn.metrics import precision_score, recall_score
from tensorboard.plugins.pr_curve import metadata as pr_curve
from tensorboard.util import tensor_util
from torch import nn

from tests.dashboard.pictures.seeing import colours, images
from tests.writers.reading import accumulated
from trainkit.handlers import Budget, CalibrationMonitor, PictureMonitor, attach_monitors
from trainkit.writers import BackgroundWriter, EventFileWriter, MemoryWriter


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def evaluated(
    writer: Any, passes: list[list[Any]], every: int = 1, **options: Any
) -> PictureMonitor:
    """A trainer of one iteration per epoch that evaluates after each: `(x, y_pred, y)`."""
    trainer = Engine(lambda engine, batch: None)
    evaluator = Engine(lambda engine, batch: {"y_pred": batch[1], "y": batch[2]})
    monitor = PictureMonitor(writer, trainer=trainer, **options)
    monitor.attach(evaluator)
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED(every=every),
        lambda: evaluator.run(passes[(trainer.state.epoch - 1) % len(passes)]),
    )
    trainer.run([None], max_epochs=len(passes))
    return monitor


def batches(y_pred: torch.Tensor, y: torch.Tensor, x: torch.Tensor | None = None) -> list[Any]:
    x = draw(len(y), 1, 8, 8) if x is None else x
    return list(zip(x.split(16), y_pred.split(16), y.split(16), strict=True))


def test_classes_from_the_event_file(tmp_path: Path) -> None:
    writer = BackgroundWriter(EventFileWriter(tmp_path))
    y = torch.arange(100) % 3
    scores = [draw(100, 3, seed=i) + i * nn.functional.one_hot(y) for i in (1, 2)]
    evaluated(writer, [batches(x, y) for x in scores], kind="logits", class_names=("a", "b", "c"))
    writer.close()
    assert accumulated(tmp_path).Tags()["images"] == [
        "predictions/confusion_matrix", "predictions/roc", "predictions/most_wrong",
    ]  # fmt: skip
    for tag in ("predictions/confusion_matrix", "predictions/roc"):
        (first, early), (second, late) = images(tmp_path, tag)
        assert (first, second) == (1, 2)
        assert early.shape == late.shape == (640, 640, 3)
        assert colours(early) > 10
        assert (early != late).any()
        assert (early[590:] == late[590:]).all()  # what is below the axes
        assert (early[46:, :40] == late[46:, :40]).all()  # and left of them
    assert images(tmp_path, "predictions/most_wrong")[0][1].shape == (682, 640, 3)
    events = accumulated(tmp_path)
    for c, name in enumerate("abc"):
        tag = f"predictions.precision_recall/{name}"
        assert tag in events.PluginTagToContent(pr_curve.PLUGIN_NAME)
        for event, x in zip(events.Tensors(tag), scores, strict=True):
            curve = tensor_util.make_ndarray(event.tensor_proto)
            p = x.softmax(1)[:, c].numpy()
            for i in (0, 25, 50, 75, 100):
                taken = p >= np.float32(i / 100)
                wanted = precision_score(y == c, taken, zero_division=1.0)
                assert curve[4, i] == pytest.approx(wanted)
                assert curve[5, i] == pytest.approx(recall_score(y == c, taken))


def test_values_from_the_event_file(tmp_path: Path) -> None:
    writer = BackgroundWriter(EventFileWriter(tmp_path))
    y, x = draw(100, 1), draw(100, 5)
    passes = [batches(y * share + 0.1, y, x) for share in (0.0, 0.9)]
    evaluated(writer, passes, kind="values")
    writer.close()
    for tag in ("predictions/against_targets", "predictions/residuals"):
        (_, early), (_, late) = images(tmp_path, tag)
        assert early.shape == late.shape == (640, 640, 3)
        assert (early != late).any()
        assert (early[568:600] == late[568:600]).all()
    tag = "predictions/most_wrong"
    (text, _) = accumulated(tmp_path).Tensors(tag)
    rows = text.tensor_proto.string_val[0].decode().splitlines()
    worst = int((y - 0.1).abs().argmax())
    assert len(rows) == 2 + 12
    assert rows[2].startswith(f"| {worst} | {y[worst].item():.4g} | 0.1 |")
    assert rows[2].endswith(f" | {x[worst, 4].item():.4g} |")


def test_evaluations_with_pictures_become_rarer_and_the_last_one_has_some() -> None:
    memory = MemoryWriter()
    y = torch.arange(32) % 2
    evaluated(memory, [batches(draw(32, 2), y)] * 21, kind="logits")
    steps = [step for step, _ in memory.images["predictions/roc"]]
    assert steps == [1, 2, 4, 8, 16, 21]
    assert {step for step, _ in memory.pr_curves["predictions.precision_recall/1"]} == set(steps)
    dense = MemoryWriter()
    evaluated(dense, [batches(draw(32, 2), y)] * 5, kind="logits", spacing=1)
    assert [step for step, _ in dense.images["predictions/roc"]] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("y_pred", "y", "said"),
    [
        (torch.arange(4), torch.arange(4), "class indices"),
        (draw(4, 3), draw(4, 2), "one class index per prediction"),
        ([1, 2], torch.arange(4), "must be tensors"),
    ],
)
def test_a_wrong_kind_of_output_says_one_line_and_goes_on(
    y_pred: Any, y: Any, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    memory = MemoryWriter()
    with caplog.at_level(logging.WARNING, "trainkit"):
        evaluated(memory, [[(draw(4, 1, 8, 8), y_pred, y)] * 3] * 3, kind="logits")
    (line,) = caplog.messages
    assert said in line
    assert memory.images == {}


def test_probabilities_that_are_said_to_be_logits_are_not_drawn() -> None:
    memory = MemoryWriter()
    y = torch.arange(32) % 3
    evaluated(memory, [batches(draw(32, 3).softmax(1), y)], kind="logits")
    assert memory.images == {}
    assert memory.pr_curves == {}


def test_text_and_many_classes_have_what_fits_them() -> None:
    memory = MemoryWriter()
    y = torch.randint(0, 50, (8, 12), generator=torch.Generator().manual_seed(0))
    evaluated(memory, [[(y, draw(8, 50, 12), y)]], kind="logits")
    assert set(memory.images) == {"predictions/confusion_matrix"}
    few = MemoryWriter()
    names = [chr(65 + i) for i in range(50)]
    evaluated(few, [[(y, draw(8, 50, 12), y)]], kind="logits", matrix=20, class_names=names)
    assert few.images == {}
    ((_, text),) = few.texts["predictions/most_wrong"]
    assert len(text.splitlines()) == 2 + 12
    assert memory.texts == {}


def test_what_is_kept_does_not_grow_with_the_data() -> None:
    sizes = []
    for rows in (4000, 16000):
        memory, seen = MemoryWriter(), []
        trainer = Engine(lambda engine, batch: None)
        evaluator = Engine(lambda engine, batch: {"y_pred": batch[1], "y": batch[2]})
        monitor = PictureMonitor(memory, trainer=trainer, kind="values", points=500)
        monitor.attach(evaluator)
        write = monitor.write
        monitor.write = lambda step, totals, seen=seen, write=write: (  # type: ignore[method-assign]
            seen.append(totals), write(step, totals)
        )  # fmt: skip
        y = draw(rows, 1)
        evaluator.run(batches(y * 0.5, y, draw(rows, 1, 8, 8)))
        (totals,) = seen
        sample, worst = totals.sample.rows, totals.worst
        sizes.append((worst.inputs.shape, worst.found.shape))
        assert 250 <= len(sample) <= 500
        assert sample.untyped_storage().nbytes() <= 500 * 2 * 8 * 2
        assert worst.inputs.untyped_storage().nbytes() == 12 * 64 * 4
    assert sizes[0] == sizes[1]


def test_what_drawing_took_is_told_to_the_budget(tmp_path: Path) -> None:
    budget = Budget(0.02)
    y = torch.arange(32) % 2
    memory = MemoryWriter()
    trainer = Engine(lambda engine, batch: None)
    evaluator = Engine(lambda engine, batch: {"y_pred": batch[1], "y": batch[2]})
    monitor = PictureMonitor(memory, trainer=trainer, kind="logits", cadence=budget)
    calibration = CalibrationMonitor(memory, trainer=trainer, kind="logits", cadence=budget)
    handles = [monitor.attach(evaluator), calibration.attach(evaluator)]
    evaluator.run(batches(draw(32, 2), y))
    assert budget.spent == 0
    assert len(memory.images) == 4  # drawn when they are looked at
    handles[0].remove()
    after_pictures = budget.spent
    handles[1].remove()
    assert 0 < after_pictures < budget.spent


def train(attach: bool, tmp_path: Path) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Dropout(0.5), nn.Linear(16, 3))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    x, y = draw(60, 1, 8, 8), torch.arange(60) % 3
    loss_fn = nn.CrossEntropyLoss()

    def step(engine: Engine, batch: Any) -> dict[str, Any]:
        model.train()
        optimizer.zero_grad()
        y_pred = model(batch[0])
        loss = loss_fn(y_pred, batch[1])
        loss.backward()
        optimizer.step()
        return {"loss": loss.detach(), "y_pred": y_pred.detach(), "y": batch[1]}

    @torch.no_grad()
    def evaluate(engine: Engine, batch: Any) -> dict[str, Any]:
        model.eval()
        return {"y_pred": model(batch[0]), "y": batch[1]}

    trainer, evaluator = Engine(step), Engine(evaluate)
    data = list(zip(x.split(20), y.split(20), strict=True))
    with attach_monitors(
        trainer, model=model, optimizers=optimizer, evaluators=evaluator, loss_fn=loss_fn,
        writer=tmp_path, pictures=attach, calibration=attach, class_names=("x", "y", "z"),
    ):  # fmt: skip
        held_out = [(draw(20, 1, 8, 8, seed=3), y[:20])]
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(held_out))
        trainer.run(data, max_epochs=4)
    return {**model.state_dict(), "random": torch.rand(3)}


def test_a_training_is_the_same_with_and_without(tmp_path: Path) -> None:
    without, with_pictures = train(False, tmp_path / "off"), train(True, tmp_path / "on")
    assert all(without[name].equal(with_pictures[name]) for name in without)
    assert "images" in accumulated(tmp_path / "off/validation").Tags()
    assert accumulated(tmp_path / "off/validation").Tags()["images"] == []
    found = images(tmp_path / "on/validation", "predictions/confusion_matrix")
    assert [step for step, _ in found] == [3, 6, 12]
    assert (
        "predictions.precision_recall/z"
        in accumulated(tmp_path / "on/validation").Tags()["tensors"]
    )


def test_several_labels_are_counted_as_decisions_of_one_kind() -> None:
    memory = MemoryWriter()
    y = (draw(30, 3, seed=1) > 0).float()
    y_pred = draw(30, 3)
    evaluated(memory, [batches(y_pred, y)], kind="binary_logits", class_names=("no", "yes"))
    ((_, curve),) = memory.pr_curves["predictions.precision_recall/yes"]
    taken = (y_pred.sigmoid() >= 0.5).flatten()
    assert curve[5, 50].item() == pytest.approx(recall_score(y.flatten(), taken))
    assert curve[4, 50].item() == pytest.approx(precision_score(y.flatten(), taken))
    assert "predictions/most_wrong" not in memory.images
