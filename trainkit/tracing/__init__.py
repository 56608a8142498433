"""Where a value that is not finite comes from: one step, watched operation by operation."""

from trainkit.tracing.origin import Origin
from trainkit.tracing.report import StepReport
from trainkit.tracing.step import bits_of_loss, traced_step

__all__ = ["Origin", "StepReport", "bits_of_loss", "traced_step"]
