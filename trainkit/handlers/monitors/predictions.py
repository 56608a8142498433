"""What the network predicts: how undecided it is among classes, or its raw values."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from ignite.engine import Engine
from torch import Tensor

from trainkit.handlers.evaluation.output_monitor import OutputMonitor
from trainkit.handlers.output.as_step_output import StepOutput, describe, is_number
from trainkit.handlers.output.wrong_predictions import looks_wrong, no_scores
from trainkit.handlers.sampling.cadence import Cadence
from trainkit.handlers.sampling.sampler import Sampler
from trainkit.stats.outputs.appearance import Appearance, looks_together
from trainkit.stats.outputs.class_values import CLASS_STATISTICS, ClassValues
from trainkit.stats.outputs.classification import KINDS, ClassTotals, Kind
from trainkit.stats.outputs.probability import ProbabilityCounts
from trainkit.stats.outputs.regression import ValueTotals
from trainkit.writers.checked import Checked
from trainkit.writers.protocol import Histogram, Scalars, Sink, Writer

__all__ = ["Kind", "PredictionMonitor", "PredictionTotals", "check_kind"]


@dataclass(eq=False, slots=True)
class PredictionTotals:
    """Totals of predictions, with or without their histogram; those of several batches add up."""

    statistics: Any  # ClassTotals or ValueTotals: each adds up with its like
    histogram: ProbabilityCounts | None
    looks: Appearance | None = None

    def __add__(self, other: "PredictionTotals") -> "PredictionTotals":
        both = self.histogram is not None and other.histogram is not None
        return PredictionTotals(
            self.statistics + other.statistics,
            self.histogram + other.histogram if both else None,  # type: ignore[operator]
            looks_together(self.looks, other.looks),
        )


class PredictionMonitor(OutputMonitor[PredictionTotals]):
    """Writes how decided a classifier is and what it chooses, or what a regression predicts.

    On a trainer: over the batch of a sampled iteration. On an evaluator (with `trainer` given):
    over all decisions or values of the pass, in one streaming pass, written once.

    The statistics are those of `stats.classification` and `stats.regression`. The share of a
    class is in how many of the decisions it was the most probable; of a label, in how many it was
    predicted. Left out are targets that are `ignore_index`, shares where there are more classes
    than `shares`, and per-output values where there are more outputs than that.

    Predictions that cannot be of this `kind` (probabilities where logits are expected, and the
    other way round; class indices) are left out, with a line in the log. The numbers are looked at
    in every pass of an evaluator; on a trainer in the first samples, until they were found right,
    and then each time that the number of samples has doubled.

    Tags, of classes: `predictions/entropy`, `/entropy_normalized`, `/confidence`, `/margin`,
    `predictions.share/<class>`, histogram `predictions/probability` (of all classes; of
    two, the second). Of values: `predictions/mean`, `/std`, `/min`, `/max`, `targets/mean`, `/std`,
    `residuals/mean`, `/std` (target minus prediction); with several outputs also
    `predictions.mean/<output>`, `.std/`, `targets.…/`, `residuals.…/`.

    Args:
        writer: Where the statistics go.
        every: How often, in iterations, or a `Sampler` shared with other monitors.
        kind: What `y_pred` holds: `logits`, `log_probabilities`, `probabilities` (classes in
            dimension 1), `binary_logits`, `binary_probabilities` (every element a decision; more
            than one in dimension 1 are labels), or `values`. `prediction_kind(loss_fn)` knows.
        ignore_index: The class index that marks a target that does not count.
        shares: Most classes (or outputs) to write one series each for.
        histograms_every: Iterations between histograms: they come in the first sampled iteration
            at or after each multiple. On an evaluator any number means every pass. None: none.
        output_transform: Makes of `engine.state.output` what `as_step_output` understands.
        trainer: Given, the monitor belongs on an evaluator.

    Raises:
        ValueError: `kind` is none of these.

    Cost:
        About twenty launches and one softmax of the predictions, in a sampled iteration.

    Example:
        >>> import torch
        >>> from trainkit.writers import MemoryWriter
        >>> writer = MemoryWriter()
        >>> trainer = Engine(lambda engine, batch: {"y_pred": batch})
        >>> handle = PredictionMonitor(writer, kind="values").attach(trainer)
        >>> _ = trainer.run([torch.tensor([1.0, 3.0])])
        >>> writer.scalars["predictions/std"]
        [(1, 1.0)]
    """

    def __init__(
        self,
        writer: Writer | Sink,
        every: int | Cadence | Sampler = 1,
        *,
        kind: Kind,
        ignore_index: int | None = None,
        shares: int = 32,
        histograms_every: int | None = None,
        output_transform: Callable[[Any], Any] | None = None,
        trainer: Engine | None = None,
    ) -> None:
        super().__init__(writer, every, output_transform=output_transform, trainer=trainer)
        self.kind = check_kind(kind)
        self.ignore_index = ignore_index
        self.shares = shares
        self.histograms_every = histograms_every
        self._histogram_number: int | None = None
        self._with_histogram = False
        self._tags: tuple[str, ...] = ()
        self._finish = ClassValues(0)
        self._checked = Checked(self._finish, (), set())
        self._samples, self._next_look = 0, 1

    def state_dict(self) -> dict[str, Any]:
        """When there was a histogram last."""
        return {"histogram": self._histogram_number}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._histogram_number = state_dict["histogram"]

    def end(self, engine: Engine) -> None:
        """Measure the output of this iteration and write."""
        if self.histograms_every is not None:
            # The first sampled iteration at or after each multiple: they need not coincide.
            number = engine.state.iteration // self.histograms_every
            self._with_histogram = number != self._histogram_number
            self._histogram_number = number
        super().end(engine)

    def start_pass(self, engine: Engine) -> None:
        """Forget the pass before."""
        super().start_pass(engine)
        self._with_histogram = self.histograms_every is not None

    def totals(self, output: StepOutput) -> PredictionTotals | None:
        """The totals of one batch."""
        y_pred, y = output.pair()
        y = y if isinstance(y, Tensor) else None
        if not isinstance(y_pred, Tensor):
            self.leave_out("predictions", self._missing(output), fact="predictions")
            return None
        if self.kind == "values":
            if y is not None and y.numel() != y_pred.numel():
                self.leave_out(
                    "targets and residuals",
                    f"y must have the shape of y_pred, {describe(y_pred)}, got {describe(y)}",
                )
            return PredictionTotals(ValueTotals.of(y_pred, y, outputs=self.shares), None)
        if not y_pred.is_floating_point():
            self.leave_out("what is made of predictions", no_scores(y_pred), fact="classes")
            return None
        about: dict[str, Any] = {"kind": self.kind, "ignore_index": self.ignore_index}
        counts: ProbabilityCounts | None = None
        try:
            classes = ClassTotals.of(y_pred, y, shares=self.shares, **about)
            if self._with_histogram:
                counts = ProbabilityCounts.of(y_pred, y, **about)
        except ValueError as error:
            self.leave_out("predictions", str(error))
            return None
        looks = output.appearance(self.kind) if self._is_to_be_looked_at() else None
        return PredictionTotals(classes, counts, looks)

    def _is_to_be_looked_at(self) -> bool:
        if self.trainer is not None or self._checked.wrong is not False:
            return True
        self._samples += 1
        if self._samples < self._next_look:
            return False
        self._next_look *= 2
        return True

    def write(self, step: int, totals: PredictionTotals) -> None:
        """Write the statistics of these totals."""
        found = totals.statistics
        wrong = None if totals.looks is None else totals.looks.is_wrong()
        if isinstance(found, ClassTotals):
            form = self.kind if totals.looks is None else totals.looks.form
            self._write_classes(step, found, form, wrong)
        else:
            self.writer.write_scalars(step, found.statistics())
            for section, values in found.per_output().items():
                if values.numel():
                    tags = [f"{section}/{i}" for i in range(values.numel())]
                    self.writer.write_scalars(step, Scalars(tags, values))
        if totals.histogram is not None and self._checked.wrong is not True:
            h = totals.histogram
            counts, moments = h.counts, h.moments
            if wrong is not None:  # nothing is to be seen of what is wrong
                counts, moments = counts.where(wrong == 0, 0), moments.where(wrong == 0, 0)
            histogram = Histogram(counts, h.edges(), moments, h.non_finite)
            self.writer.write_histograms(step, {"predictions/probability": histogram})

    def _write_classes(
        self, step: int, totals: ClassTotals, form: str, wrong: Tensor | None
    ) -> None:
        shares = totals.chosen.numel()
        if (
            len(self._tags) != len(CLASS_STATISTICS) + shares
            or self._finish.classes != totals.classes
        ):
            own = [f"predictions/{name}" for name in CLASS_STATISTICS]
            self._tags = (*own, *(f"predictions.share/{i}" for i in range(shares)))
            self._finish = ClassValues(totals.classes)
        parts = [totals.sums, totals.chosen]
        if totals.offered is not None:
            parts.append(totals.offered)
        if wrong is None:
            scalars = Scalars(self._tags, parts, finish=self._finish)
        else:
            complaints = (looks_wrong(form),)
            if self._checked.finish != self._finish or self._checked.complaints != complaints:
                self._checked = Checked(self._finish, complaints, self.said, self.prefix)
            scalars = Scalars(self._tags, [*parts, wrong], finish=self._checked)
        self.writer.write_scalars(step, scalars)

    def _missing(self, output: StepOutput) -> str:
        """What the output lacks, and what would help."""
        if is_number(output.seen):
            return (
                "the engine's output is the loss alone; return a dict with tensors 'y_pred' and "
                "'y' too (create_supervised_trainer(..., output_transform=lambda x, y, y_pred, "
                'loss: {"loss": loss, "y_pred": y_pred, "y": y}))'
            )
        found = "no y_pred" if output.y_pred is None else f"y_pred as a {describe(output.y_pred)}"
        if "y_pred" in output.left_out:
            return f"y_pred {output.left_out['y_pred']}"
        return f"the engine's output has {found}; {self.hint(output, 'y_pred', 'y')}"


def check_kind(kind: str) -> Kind:
    """`kind`, if it is one.

    Raises:
        ValueError: It is none; the message has them all.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    return cast("Kind", kind)
