"""Predictions on a trainer and over a whole evaluation; what the loss says they are."""

from functools import partial

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from scipy.special import softmax
from scipy.stats import entropy
from torch import Tensor, nn
from torch.nn import functional as F

from trainkit.handlers.monitors.calibration import CalibrationMonitor
from trainkit.handlers.monitors.predictions import PredictionMonitor
from trainkit.handlers.output.known_losses import known_losses
from trainkit.handlers.output.prediction_kind import ignored_index, prediction_kind
from trainkit.losses import Losses
from trainkit.stats.outputs.calibration import calibration
from trainkit.writers import MemoryWriter


def rows(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 3


def identity(engine: Engine, batch: object) -> object:
    return batch


def value(writer: MemoryWriter, tag: str) -> float:
    return float(writer.scalars[tag][-1][1])


def test_classes_on_a_trainer() -> None:
    writer, trainer = MemoryWriter(), Engine(identity)
    PredictionMonitor(writer, every=2, kind="logits").attach(trainer)
    batches = [(rows(6, 4, seed=i), torch.zeros(6)) for i in range(3)]
    trainer.run(batches)
    assert [step for step, _ in writer.scalars["predictions/entropy"]] == [1, 2]
    p = softmax(batches[1][0].double().numpy(), axis=1)
    assert value(writer, "predictions/entropy") == pytest.approx(entropy(p, axis=1).mean(), 1e-6)
    shares = [value(writer, f"predictions.share/{c}") for c in range(4)]
    assert shares == pytest.approx(np.bincount(p.argmax(1), minlength=4) / 6)


def test_classes_over_an_evaluation_are_those_of_all_its_rows() -> None:
    writer, trainer, evaluator = MemoryWriter(), Engine(identity), Engine(identity)
    about = {"kind": "logits", "ignore_index": -1, "trainer": trainer}
    PredictionMonitor(writer, histograms_every=1, **about).attach(evaluator)
    CalibrationMonitor(writer, **about).attach(evaluator)
    x, y = rows(21, 4), torch.arange(21) % 5 - 1
    data = list(zip(x.split(8), y.split(8), strict=True))
    trainer.add_event_handler(Events.COMPLETED, lambda: evaluator.run(data))
    trainer.run([None] * 7)
    p = softmax(x[y >= 0].double().numpy(), axis=1)
    assert [step for step, _ in writer.scalars["predictions/entropy"]] == [7]
    assert value(writer, "predictions/entropy") == pytest.approx(entropy(p, axis=1).mean(), 1e-6)
    assert value(writer, "predictions/confidence") == pytest.approx(p.max(1).mean(), 1e-6)
    expected = calibration(x, y, ignore_index=-1)
    for name, number in expected.items():
        assert value(writer, f"predictions/{name}") == pytest.approx(number.item(), abs=1e-9)
    ((step, _),) = writer.histograms["predictions/probability"]
    assert step == 7
    ((step, image),) = writer.images["predictions/reliability"]
    assert (step, image.shape[-3]) == (7, 3)


def test_values_over_an_evaluation() -> None:
    writer, trainer, evaluator = MemoryWriter(), Engine(identity), Engine(identity)
    PredictionMonitor(writer, kind="values", trainer=trainer).attach(evaluator)
    y_pred, y = rows(21, 2), rows(21, 2, seed=1)
    evaluator.run(list(zip(y_pred.split(8), y.split(8), strict=True)))
    residuals = (y.double() - y_pred.double()).numpy()
    assert value(writer, "residuals/mean") == pytest.approx(residuals.mean())
    assert value(writer, "residuals/std") == pytest.approx(residuals.std())
    assert value(writer, "residuals.std/1") == pytest.approx(residuals[:, 1].std())
    assert value(writer, "predictions/max") == y_pred.max().item()
    assert value(writer, "targets/std") == pytest.approx(y.double().numpy().std())


def test_histograms_come_seldomer() -> None:
    writer, trainer = MemoryWriter(), Engine(identity)
    PredictionMonitor(writer, every=2, kind="logits", histograms_every=5).attach(trainer)
    trainer.run([(rows(6, 4), torch.zeros(6))] * 20)
    steps = [step for step, _ in writer.histograms["predictions/probability"]]
    assert steps == [1, 6, 10, 16, 20]


@pytest.mark.parametrize(
    "output", [0.5, None, {"y_pred": [1, 2]}, {"y_pred": None}, {"y_pred": torch.zeros(4).long()}]
)
def test_what_is_missing_is_said_once(output: object, caplog: pytest.LogCaptureFixture) -> None:
    writer, trainer = MemoryWriter(), Engine(lambda e, b: output)
    monitor = PredictionMonitor(writer, kind="logits")
    monitor.attach(trainer)
    trainer.run(range(3))
    assert not writer.scalars
    assert monitor.guard.failure is None
    (line,) = [r.getMessage() for r in caplog.records if r.name == "trainkit"]
    assert "predictions" in line.split(":")[0]
    assert "return " in line


def test_targets_of_another_shape_leave_residuals_out(caplog: pytest.LogCaptureFixture) -> None:
    writer, trainer = MemoryWriter(), Engine(identity)
    PredictionMonitor(writer, kind="values").attach(trainer)
    trainer.run([{"y_pred": rows(4, 2), "y": rows(4)}] * 2)
    assert "predictions/mean" in writer.scalars
    assert "residuals/mean" not in writer.scalars
    assert caplog.text.count("targets and residuals are left out") == 1


class Focal(nn.CrossEntropyLoss):
    pass


@pytest.mark.parametrize(
    ("loss_fn", "kind"),
    [
        (nn.CrossEntropyLoss(), "logits"),
        (Focal(), "logits"),
        (nn.NLLLoss(), "log_probabilities"),
        (nn.BCELoss(), "binary_probabilities"),
        (nn.BCEWithLogitsLoss(), "binary_logits"),
        (nn.MSELoss(), "values"),
        (nn.L1Loss(), "values"),
        (nn.SmoothL1Loss(), "values"),
        (nn.HuberLoss(), "values"),
        (F.cross_entropy, "logits"),
        (partial(F.cross_entropy, label_smoothing=0.1), "logits"),
        (F.nll_loss, "log_probabilities"),
        (F.binary_cross_entropy, "binary_probabilities"),
        (F.binary_cross_entropy_with_logits, "binary_logits"),
        (F.mse_loss, "values"),
        (Losses({"ce": nn.CrossEntropyLoss(), "more": {"weight": 2.0, "loss": Focal()}}), "logits"),
        (Losses({"mse": nn.MSELoss(), "own": lambda y_pred, y: y_pred.sum()}), "values"),
        (Losses({"mse": nn.MSELoss(), "ce": nn.CrossEntropyLoss()}), None),
        (lambda y_pred, y: 0, None),
        (None, None),
        ("mse", None),
    ],
)
def test_what_the_loss_says(loss_fn: object, kind: str | None) -> None:
    assert prediction_kind(loss_fn) == kind


def test_a_loss_can_say_what_it_takes() -> None:
    def own(y_pred: Tensor, y: Tensor) -> Tensor:
        return y_pred.sum()

    own.predictions = "binary_logits"  # type: ignore[attr-defined]
    assert prediction_kind(own) == "binary_logits"
    assert prediction_kind(Losses({"own": own})) == "binary_logits"
    both = {"mse": nn.MSELoss(), "own": own}
    assert prediction_kind(Losses(both)) == "values"  # PyTorch's own come first
    assert prediction_kind(Losses(both, predictions="logits")) == "logits"
    own.predictions = "nonsense"  # type: ignore[attr-defined]
    assert prediction_kind(own) is None


def test_a_loss_whose_attributes_fail_does_not_tell() -> None:
    class Failing:
        def __getattr__(self, name: str) -> object:
            raise RuntimeError(name)

        def __call__(self, y_pred: Tensor, y: Tensor) -> Tensor:
            return y_pred.sum()

    assert prediction_kind(Failing()) is None
    assert ignored_index(Failing()) is None
    assert known_losses(Failing()) is None


def test_the_index_that_the_loss_ignores() -> None:
    assert ignored_index(nn.CrossEntropyLoss()) == -100
    assert ignored_index(nn.NLLLoss(ignore_index=0)) == 0
    assert ignored_index(F.cross_entropy) == -100
    assert ignored_index(partial(F.cross_entropy, ignore_index=7)) == 7
    assert ignored_index(Losses({"ce": nn.CrossEntropyLoss(ignore_index=3)})) == 3
    for loss_fn in (nn.MSELoss(), nn.BCELoss(), None, lambda y_pred, y: 0):
        assert ignored_index(loss_fn) is None


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match=r"kind must be one of .*got 'classes'"):
        PredictionMonitor(MemoryWriter(), kind="classes")
    with pytest.raises(ValueError, match="calibration needs probabilities"):
        CalibrationMonitor(MemoryWriter(), kind="values", trainer=Engine(identity))


def evaluated(
    outputs: list[object], kind: str = "logits", ignore_index: int | None = None
) -> MemoryWriter:
    """What an evaluation writes whose batches are these outputs."""
    writer, trainer, evaluator = MemoryWriter(), Engine(identity), Engine(identity)
    about = {"kind": kind, "ignore_index": ignore_index, "trainer": trainer}
    monitors = [
        PredictionMonitor(writer, histograms_every=1, **about),
        CalibrationMonitor(writer, **about),
    ]
    told: set[str] = set()
    for monitor in monitors:
        monitor.complained = monitor.said = told  # as `attach_monitors` does
        monitor.attach(evaluator)
    evaluator.run(outputs)
    assert [monitor.guard.failure for monitor in monitors] == [None, None]
    return writer


def test_classes_in_the_last_dimension_of_pixels_and_tokens() -> None:
    x, y = rows(2, 4, 5, 3), torch.arange(40).reshape(2, 4, 5) % 3
    p = softmax(x.double().numpy(), axis=-1)
    expected = calibration(x.reshape(-1, 3), y.reshape(-1))["expected_calibration_error"].item()
    for output in (
        (x, y), {"logits": x, "labels": y.reshape(-1)}, (x, y.unsqueeze(-1)),
        (x.flatten(1, 2), y.flatten(1)), (x.movedim(-1, 1), y),
    ):  # fmt: skip
        writer = evaluated([output])
        assert value(writer, "predictions/entropy") == pytest.approx(entropy(p, axis=-1).mean())
        found = value(writer, "predictions/expected_calibration_error")
        assert found == pytest.approx(expected)


def test_one_column_of_logits_and_a_vector_of_targets() -> None:
    x, y = rows(12, 1), torch.arange(12) % 2
    expected = evaluated([(x[:, 0], y)], "binary_logits").scalars
    for output in ((x, y), (x, y.float()), (x, y[:, None])):
        assert evaluated([output], "binary_logits").scalars == expected
    assert value(evaluated([(x, y)], "binary_logits"), "predictions/entropy") < 0.7


def test_samples_that_were_taken_apart_are_put_together() -> None:
    x, y = rows(6, 3, 4, 4), torch.arange(96).reshape(6, 1, 4, 4) % 3
    apart = [{"pred": a, "label": b, "image": a} for a, b in zip(x, y, strict=True)]
    whole = evaluated([(x, y)]).scalars
    assert evaluated([apart]).scalars == whole
    assert "predictions/entropy" in whole


@pytest.mark.parametrize(
    ("output", "kind", "why"),
    [
        ((rows(12, 3).softmax(1), torch.arange(12) % 3), "logits", "look like probabilities"),
        ((rows(12, 3), torch.arange(12) % 3), "probabilities", "cannot be probabilities"),
        ((rows(12, 3), torch.arange(12) % 3), "log_probabilities", "cannot be log probabilities"),
        ((rows(12), torch.arange(12) % 2), "binary_probabilities", "cannot be binary prob"),
        ((rows(12).sigmoid(), torch.arange(12) % 2), "binary_logits", "look like probabilities"),
    ],
)
def test_what_looks_wrong_is_left_out_with_one_line(
    output: object, kind: str, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    writer = evaluated([output, output], kind)
    assert not writer.scalars
    for _, histogram in writer.histograms["predictions/probability"]:
        assert histogram.counts.sum() == 0
    (line,) = {r.getMessage() for r in caplog.records}
    assert len(caplog.records) == 1
    assert why in line


def test_classes_as_predictions_are_left_out_by_name(caplog: pytest.LogCaptureFixture) -> None:
    choice = rows(12, 3).argmax(1)
    writer = evaluated([(choice, choice)] * 2)
    assert {**writer.scalars, **writer.histograms, **writer.images} == {}
    (line,) = [r.getMessage() for r in caplog.records]
    assert line.startswith("what is made of predictions is left out: the predictions are int64")


def test_targets_that_do_not_fit_leave_predictions_out(caplog: pytest.LogCaptureFixture) -> None:
    assert not evaluated([(rows(6, 3), torch.zeros(6, 2).long())], ignore_index=-100).scalars
    assert caplog.text.count("must have one class index per prediction") == 2


def test_a_trainer_that_returns_probabilities_is_found_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    x, y = rows(8, 3), torch.arange(8) % 3
    writer, trainer = MemoryWriter(), Engine(identity)
    PredictionMonitor(writer, kind="logits").attach(trainer)
    trainer.run([(x.softmax(1), y)] * 5 + [(x, y)] * 5)
    # Nobody has looked yet, so all of them are checked.
    assert [step for step, _ in writer.scalars["predictions/entropy"]] == [6, 7, 8, 9, 10]
    assert caplog.text.count("look like probabilities") == 1
    # All is well now: the next ones are taken on trust, but for the first, second, fourth, eighth.
    trainer.run([(x.softmax(1), y)] * 10, max_epochs=2)
    steps = [step for step, _ in writer.scalars["predictions/entropy"] if step > 10]
    assert steps == [13, 15, 16, 17, 19, 20]
    # What was wrong is checked every time.
    trainer.run([(x.softmax(1), y)] * 10, max_epochs=3)
    assert [step for step, _ in writer.scalars["predictions/entropy"] if step > 20] == []
    assert trainer.state.iteration == 30
