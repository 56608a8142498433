"""Pictures of what a network predicts, at some of its evaluations."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

from ignite.engine import Engine
from torch import Tensor

from trainkit.dashboard.pictures.confusion import confusion_picture
from trainkit.dashboard.pictures.most_wrong import (
    most_wrong_classes_table,
    most_wrong_images,
    most_wrong_tokens_table,
    most_wrong_values_table,
)
from trainkit.dashboard.pictures.names import names_of
from trainkit.dashboard.pictures.regression import predicted_against_true, residuals_picture
from trainkit.dashboard.pictures.roc import roc_picture
from trainkit.dashboard.pictures.unless_wrong import UnlessWrong
from trainkit.handlers.evaluation.drawing_cost import DrawingCost
from trainkit.handlers.evaluation.occasions import Occasions
from trainkit.handlers.evaluation.output_monitor import OutputMonitor
from trainkit.handlers.evaluation.seen import ClassesSeen, Limits, ValuesSeen
from trainkit.handlers.monitors.predictions import check_kind
from trainkit.handlers.output.as_step_output import StepOutput, describe
from trainkit.handlers.output.wrong_predictions import no_scores
from trainkit.handlers.sampling.cadence import Cadence
from trainkit.stats.outputs.classification import Kind
from trainkit.stats.outputs.score_counts import precision_recall
from trainkit.writers.deferred import Deferred, PrCurve
from trainkit.writers.protocol import Sink, Writer

__all__ = ["PictureMonitor"]

_LARGEST = 1 << 20  # maximum number of elements of an input that is kept for pictures


class PictureMonitor(OutputMonitor[ClassesSeen | ValuesSeen]):
    """Draws what a network predicts: which classes it confuses, how far values are from targets.

    What is drawn is counted on the device, over all batches of an evaluation; memory is bounded.
    The writer's thread draws. The axes are the same at every evaluation. Pictures come with the
    first evaluation, the second, the fourth, …, and the one at the end of the run. An evaluation
    of the training data has none.

    Tags, of classes: images `predictions/confusion_matrix` and `predictions/roc`, PR curves
    `predictions.precision_recall/<class>`. Of values: images `predictions/against_targets` and
    `predictions/residuals`. Of both, the samples that were predicted worst:
    `predictions/most_wrong`, an image if the inputs are images, else a text: rows of a table, or
    what stands before a token, if `class_names` are the tokens.

    Left out are targets that are `ignore_index`, what has more classes than the limits, and the
    most wrong samples where a sample has several decisions or values and is no text. Predictions
    that cannot be of this `kind` are left out with a line in the log.

    Args:
        writer: Where the pictures go.
        trainer: The engine whose iteration is the step; the monitor is attached to an evaluator.
        kind: What `y_pred` holds, as in `PredictionMonitor`.
        ignore_index: The class index that marks a target that does not count.
        class_names: What each class is called, in the order of the class indices.
        spacing: Each picture comes with the evaluation whose number is so many times that of the
            one before; 1: with every evaluation.
        matrix: Most classes of a confusion matrix.
        curves: Most classes with a PR and a ROC curve each.
        worst: Samples that are shown; 0: none.
        points: Most predictions of a regression that are drawn: evenly spaced ones.
        cadence: Is told, by `spend_apart`, what drawing took.
        output_transform: Makes of `engine.state.output` what `as_step_output` understands.

    Raises:
        ValueError: `kind` is no kind, or a number is out of range.

    Cost:
        In an evaluation with pictures about sixty launches per batch. Where the batches are not
        on the device of the predictions, the inputs are copied there once more. In the writer's
        thread 10 to 20 ms per picture.

    Example:
        >>> import torch
        >>> from trainkit.writers import MemoryWriter
        >>> writer, trainer = MemoryWriter(), Engine(lambda engine, batch: None)
        >>> evaluator = Engine(lambda engine, batch: batch)
        >>> monitor = PictureMonitor(writer, trainer=trainer, kind="probabilities")
        >>> handle = monitor.attach(evaluator)
        >>> _ = evaluator.run([(torch.tensor([[0.9, 0.1], [0.4, 0.6]]), torch.tensor([0, 1]))])
        >>> [(step, list(image.shape)) for step, image in writer.images["predictions/roc"]]
        [(0, [1, 3, 640, 640])]
    """

    engines = ("evaluators",)

    def __init__(
        self,
        writer: Writer | Sink,
        *,
        trainer: Engine,
        kind: Kind,
        ignore_index: int | None = None,
        class_names: Sequence[str] = (),
        spacing: float = 2.0,
        matrix: int = 100,
        curves: int = 32,
        worst: int = 12,
        points: int = 2000,
        cadence: Cadence | None = None,
        output_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(writer, output_transform=output_transform, trainer=trainer)
        for name, number in (("matrix", matrix), ("curves", curves), ("worst", worst)):
            if number < 0:
                raise ValueError(f"{name} must be 0 or more, got {number}")
        if points < 1:
            raise ValueError(f"points must be 1 or more, got {points}")
        self.kind = check_kind(kind)
        self.ignore_index = ignore_index
        self.class_names = tuple(map(str, class_names))
        self.limits = Limits(matrix, curves, worst, points)
        self.occasions = Occasions(spacing)
        self._is_due = False
        self._cost = DrawingCost(cadence)

    def state_dict(self) -> dict[str, Any]:
        """Which evaluations come with pictures."""
        return self.occasions.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.occasions.load_state_dict(state_dict)

    def start_pass(self, engine: Engine) -> None:
        """Forget the pass before, and decide whether this one is drawn."""
        super().start_pass(engine)
        self._cost.tell()
        trainer = self.trainer
        self._is_due = (
            trainer is not None and self.engine_name != "train" and self.occasions.begin(trainer)
        )

    def observe(self, engine: Engine) -> None:
        """Count this batch."""
        if self._is_due:
            super().observe(engine)

    def cancel(self) -> None:
        """Forget what was begun; harmless at any time."""
        super().cancel()
        self._cost.tell()

    def totals(self, output: StepOutput) -> ClassesSeen | ValuesSeen | None:
        """What pictures need of one batch."""
        y_pred, y = output.pair()
        if not (isinstance(y_pred, Tensor) and isinstance(y, Tensor)):
            self.leave_out(
                "pictures",
                f"y_pred and y must be tensors, got {describe(y_pred)} and {describe(y)}; "
                f"{self.hint(output, 'y_pred', 'y')}",
                fact=None if isinstance(y_pred, Tensor) else "predictions",
            )
            return None
        if not y_pred.numel():
            return None
        x = _inputs(output, y_pred)
        if self.kind == "values":
            if y.numel() == y_pred.numel():
                return ValuesSeen.of(y_pred, y, x, self.limits)
            self.leave_out(
                "pictures",
                f"y must have the shape of y_pred, {describe(y_pred)}, got {describe(y)}",
            )
            return None
        if not y_pred.is_floating_point():
            self.leave_out("what is made of predictions", no_scores(y_pred), fact="classes")
            return None
        about: dict[str, Any] = {"kind": self.kind, "ignore_index": self.ignore_index}
        looks = output.appearance(self.kind)
        try:
            return ClassesSeen.of(y_pred, y.detach(), x, looks, self.limits, about)
        except ValueError as error:
            self.leave_out("pictures", str(error))
            return None

    def write(self, step: int, totals: ClassesSeen | ValuesSeen) -> None:
        """Hand over what the pictures of the pass are drawn of."""
        if isinstance(totals, ClassesSeen):
            self._write_classes(step, totals)
        else:
            self._write_values(step, totals)

    def _write_classes(self, step: int, seen: ClassesSeen) -> None:
        wrong = seen.looks.is_wrong()
        named: dict[str, Any] = {"class_names": self.class_names}

        def later(make: Callable[..., Any], *parts: Tensor) -> Deferred:
            return Deferred(UnlessWrong(make), (*parts, wrong))

        images: dict[str, Deferred] = {}
        texts: dict[str, Deferred] = {}
        if seen.confusion is not None:
            draw = partial(confusion_picture, **named)
            images["predictions/confusion_matrix"] = later(draw, seen.confusion)
        if seen.scores is not None:
            counts = seen.scores.counts
            images["predictions/roc"] = later(partial(roc_picture, **named), counts)
            for i, name in enumerate(_curve_names(counts.shape[1], self.class_names)):
                tag = f"predictions.precision_recall/{name}"
                images[tag] = PrCurve(UnlessWrong(precision_recall), (counts[:, i], wrong))
        if seen.worst is not None:
            worst = seen.worst
            about: dict[str, Any] = {"classes": seen.classes, **named}
            if not worst.inputs.is_floating_point():
                if len(self.class_names) == seen.classes:
                    table = partial(most_wrong_tokens_table, **named)
                    texts["predictions/most_wrong"] = later(table, worst.inputs, worst.found)
            elif _are_images(worst.inputs):
                draw = partial(most_wrong_images, **about)
                images["predictions/most_wrong"] = later(draw, worst.inputs, worst.found)
            else:
                table = partial(most_wrong_classes_table, **about)
                texts["predictions/most_wrong"] = later(table, worst.inputs, worst.found)
        self._hand_over(step, images, texts)

    def _write_values(self, step: int, seen: ValuesSeen) -> None:
        sample = seen.sample
        parts = (sample.rows, seen.limits)
        images = {
            "predictions/against_targets": Deferred(
                partial(predicted_against_true, count=sample.count), parts
            ),
            "predictions/residuals": Deferred(
                partial(residuals_picture, count=sample.count), parts
            ),
        }
        texts: dict[str, Deferred] = {}
        if seen.worst is not None and not _are_images(seen.worst.inputs):
            shown = (seen.worst.inputs, seen.worst.found)
            texts["predictions/most_wrong"] = Deferred(most_wrong_values_table, shown)
        self._hand_over(step, images, texts)

    def _hand_over(
        self, step: int, images: Mapping[str, Deferred], texts: Mapping[str, Deferred]
    ) -> None:
        for write, values in (
            (self.writer.write_images, images),
            (self.writer.write_texts, texts),
        ):
            if values:
                write(step, cast("Mapping[str, Any]", values))
                self._cost.add(values.values())


def _curve_names(rows: int, class_names: Sequence[str]) -> list[str]:
    """What the curves are called: of two classes there is the second one's."""
    names = names_of(2, class_names, 40)[1:] if rows == 1 else names_of(rows, class_names, 40)
    return names if len(set(names)) == len(names) else names_of(rows, ())


def _inputs(output: StepOutput, y_pred: Tensor) -> Tensor | None:
    """What the network was given, on the device of the predictions; None: not known, or large."""
    batch = output.batch
    x = batch[0] if isinstance(batch, tuple | list) and batch else batch
    if not isinstance(x, Tensor) or x.ndim < 2 or x.is_complex():
        return None
    if not x.is_floating_point() and not (
        x.ndim == 2 and y_pred.ndim == 3
    ):  # otherwise the input is text
        return None
    if len(x) != len(y_pred) or x[:1].numel() > _LARGEST:
        return None
    # Only here the device is told more than it computes: the worst samples are chosen there.
    return x.detach().to(y_pred.device, non_blocking=True)


def _are_images(x: Tensor) -> bool:
    """Whether a batch of inputs is one of images: `[N, H, W]`, or `[N, C, H, W]` with C 1 or 3."""
    if min(x.shape[-2:]) < 4:
        return False
    return x.ndim == 3 or (x.ndim == 4 and x.shape[1] in (1, 3))
