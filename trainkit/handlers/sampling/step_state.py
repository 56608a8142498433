"""What is known at an optimizer's step, shared by the hooks and the monitors."""

from trainkit.handlers.sampling.loss_scale import LossScale
from trainkit.handlers.sampling.stopwatch import Stopwatch
from trainkit.handlers.sampling.unseen_steps import Witness

__all__ = ["StepState"]


class StepState:
    """Where training is, as the hooks of the optimizers see it.

    Args:
        watch: Times what monitors do in the hooks.

    Attributes:
        iteration: The current iteration, or the last one in which a step was waited for.
        sampled: The last iteration that was sampled.
        inside: Whether the process function is running.
        loss_scale: The factor of mixed precision by which gradients must be divided.
        witness: Which optimizers were seen to step.
    """

    def __init__(self, watch: Stopwatch) -> None:
        self.watch = watch
        self.iteration = self.sampled = 0
        self.inside = False
        self.loss_scale = LossScale()
        self.witness = Witness()
