"""Calibration: whether confidence agrees with accuracy, on validation data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from ignite.engine import Engine
from torch import Tensor

from trainkit.dashboard.pictures.reliability import reliability_picture
from trainkit.dashboard.pictures.unless_wrong import UnlessWrong
from trainkit.handlers.evaluation.drawing_cost import DrawingCost
from trainkit.handlers.evaluation.occasions import Occasions
from trainkit.handlers.evaluation.output_monitor import OutputMonitor
from trainkit.handlers.monitors.predictions import check_kind
from trainkit.handlers.output.as_step_output import StepOutput, describe
from trainkit.handlers.output.wrong_predictions import looks_wrong, no_scores
from trainkit.handlers.sampling.cadence import Cadence
from trainkit.stats.outputs.appearance import Appearance
from trainkit.stats.outputs.calibration import CalibrationTotals
from trainkit.stats.outputs.classification import Kind
from trainkit.writers.checked import Checked
from trainkit.writers.deferred import Deferred
from trainkit.writers.protocol import Scalars, Sink, Writer

__all__ = ["CalibrationMonitor"]


@dataclass(eq=False, slots=True)
class CheckedCalibration:
    """The calibration of predictions, and what these look like; those of batches add up."""

    found: CalibrationTotals
    looks: Appearance

    def __add__(self, other: "CheckedCalibration") -> "CheckedCalibration":
        return CheckedCalibration(self.found + other.found, self.looks + other.looks)


class CalibrationMonitor(OutputMonitor[CheckedCalibration]):
    """Writes the calibration error of a whole evaluation and a picture of reliability.

    The statistics are those of `stats.calibration`, over all decisions of the pass, in one
    streaming pass on the device. Left out are targets that are `ignore_index`, and, with a line in
    the log, predictions that cannot be of this `kind`.

    Tags: `predictions/expected_calibration_error`, `predictions/maximum_calibration_error`,
    `predictions/overconfidence`; image `predictions/reliability`.

    Args:
        writer: Where the statistics go.
        trainer: The engine whose iteration is the step; the monitor is attached to an evaluator.
        kind: What `y_pred` holds, as in `PredictionMonitor`; not `values`.
        ignore_index: The class index that marks a target that does not count.
        bins: Bins of confidence.
        diagram: Write the picture, with the first evaluation, the second, the fourth, …, and the
            one at the end of the run. The writer's thread draws it.
        cadence: Is told, by `spend_apart`, what drawing took.
        output_transform: Makes of `engine.state.output` what `as_step_output` understands.

    Raises:
        ValueError: `kind` has no probabilities, or is no kind.

    Cost:
        About fifteen launches and one softmax of the predictions, per batch of the evaluation.

    Example:
        >>> import torch
        >>> from trainkit.writers import MemoryWriter
        >>> writer, trainer = MemoryWriter(), Engine(lambda engine, batch: None)
        >>> evaluator = Engine(lambda engine, batch: batch)
        >>> monitor = CalibrationMonitor(writer, trainer=trainer, kind="probabilities")
        >>> handle = monitor.attach(evaluator)
        >>> half = torch.tensor([[0.5, 0.5], [0.5, 0.5]])
        >>> _ = evaluator.run([(half, torch.tensor([0, 1]))])
        >>> writer.scalars["predictions/expected_calibration_error"]
        [(0, 0.0)]
    """

    engines = ("evaluators",)

    def __init__(
        self,
        writer: Writer | Sink,
        *,
        trainer: Engine,
        kind: Kind,
        ignore_index: int | None = None,
        bins: int = 15,
        diagram: bool = True,
        cadence: Cadence | None = None,
        output_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(writer, output_transform=output_transform, trainer=trainer)
        if check_kind(kind) == "values":
            raise ValueError("calibration needs probabilities of classes, got kind 'values'")
        self.kind = kind
        self.ignore_index = ignore_index
        self.bins = bins
        self.diagram = diagram
        self._checked = Checked(None, (), set())
        self._occasions = Occasions()
        self._is_drawn = False
        self._cost = DrawingCost(cadence)

    def state_dict(self) -> dict[str, Any]:
        """Which evaluations come with pictures."""
        return self._occasions.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._occasions.load_state_dict(state_dict)

    def start_pass(self, engine: Engine) -> None:
        """Forget the pass before, and decide whether this one is drawn."""
        super().start_pass(engine)
        self._cost.tell()
        if self.diagram and self.trainer is not None:
            self._is_drawn = self._occasions.begin(self.trainer)

    def cancel(self) -> None:
        """Forget what was begun; harmless at any time."""
        super().cancel()
        self._cost.tell()

    def totals(self, output: StepOutput) -> CheckedCalibration | None:
        """The totals of one batch."""
        y_pred, y = output.pair()
        if not (isinstance(y_pred, Tensor) and isinstance(y, Tensor)):
            self.leave_out(
                "calibration",
                f"y_pred and y must be tensors, got {describe(y_pred)} and {describe(y)}; "
                f"{self.hint(output, 'y_pred', 'y')}",
                fact=None if isinstance(y_pred, Tensor) else "predictions",
            )
            return None
        if not y_pred.is_floating_point():
            self.leave_out("what is made of predictions", no_scores(y_pred), fact="classes")
            return None
        y = y.detach()
        about: dict[str, Any] = {"kind": self.kind, "ignore_index": self.ignore_index}
        try:
            found = CalibrationTotals.of(y_pred, y, bins=self.bins, **about)
        except ValueError as error:
            self.leave_out("calibration", str(error))
            return None
        return CheckedCalibration(found, output.appearance(self.kind))

    def write(self, step: int, totals: CheckedCalibration) -> None:
        """Write the calibration of the pass."""
        found = totals.found.statistics()
        wrong = totals.looks.is_wrong()
        complaints = (looks_wrong(totals.looks.form),)
        if self._checked.complaints != complaints:
            self._checked = Checked(None, complaints, self.said, self.prefix)
        tags = tuple(f"predictions/{name}" for name in found)
        values = torch.stack(list(found.values()))
        self.writer.write_scalars(step, Scalars(tags, (values, wrong), finish=self._checked))
        if self._is_drawn and self._checked.wrong is not True:
            draw = UnlessWrong(reliability_picture)
            picture = Deferred(draw, (totals.found.sums, wrong))
            images: dict[str, Any] = {"predictions/reliability": picture}
            self.writer.write_images(step, images)
            self._cost.add([picture])
