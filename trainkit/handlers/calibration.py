"""Whether the network is as often right as it is confident, on validation data."""

from collections.abc import Callable
from typing import Any

from ignite.engine import Engine
from torch import Tensor

from trainkit.handlers.evaluation import OutputMonitor
from trainkit.handlers.output import StepOutput, describe
from trainkit.handlers.predictions import check_kind
from trainkit.stats.calibration import CalibrationTotals, reliability_diagram
from trainkit.writers.protocol import Writer

__all__ = ["CalibrationMonitor"]


class CalibrationMonitor(OutputMonitor[CalibrationTotals]):
    """Writes the calibration error of a whole evaluation and a picture of reliability.

    The statistics are those of `stats.calibration`, over all decisions of the pass, in one
    streaming pass on the device. Left out are targets that are `ignore_index`.

    Tags: `calibration/expected_calibration_error`, `calibration/maximum_calibration_error`,
    `calibration/overconfidence`; image `calibration/reliability`.

    Args:
        writer: Where the statistics go.
        trainer: The engine whose iteration is the step; the monitor is attached to an evaluator.
        kind: What `y_pred` holds, as in `PredictionMonitor`; not `values`.
        ignore_index: The class index that marks a target that does not count.
        bins: Bins of confidence.
        diagram: Write the picture.
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
        >>> writer.scalars["calibration/expected_calibration_error"]
        [(0, 0.0)]
    """

    def __init__(
        self,
        writer: Writer,
        *,
        trainer: Engine,
        kind: str,
        ignore_index: int | None = None,
        bins: int = 15,
        diagram: bool = True,
        output_transform: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(writer, output_transform=output_transform, trainer=trainer)
        if check_kind(kind) == "values":
            raise ValueError("calibration needs probabilities of classes, got kind 'values'")
        self.kind = kind
        self.ignore_index = ignore_index
        self.bins = bins
        self.diagram = diagram

    def totals(self, output: StepOutput) -> CalibrationTotals | None:
        """The totals of one batch."""
        y_pred, y = output.y_pred, output.y
        if not (isinstance(y_pred, Tensor) and isinstance(y, Tensor)):
            self.leave_out(
                "calibration",
                f"y_pred and y must be tensors, got {describe(y_pred)} and {describe(y)}; pass an "
                'output_transform, e.g. output_transform=lambda output: {"y_pred": ..., "y": ...}',
            )
            return None
        return CalibrationTotals.of(
            y_pred, y.detach(), kind=self.kind, ignore_index=self.ignore_index, bins=self.bins
        )

    def write(self, step: int, totals: CalibrationTotals) -> None:
        """Write the calibration of the pass."""
        found = totals.statistics()
        self.writer.write_scalars(step, {f"calibration/{k}": v for k, v in found.items()})
        if self.diagram:
            confidence, accuracy = totals.reliability()
            picture = reliability_diagram(confidence, accuracy)
            self.writer.write_images(step, {"calibration/reliability": picture})
