"""The parameters that a monitor measures at the optimizers' steps, and their series."""

from collections.abc import Mapping
from functools import partial

from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from trainkit.handlers.parameters.held import Named, Parameters
from trainkit.handlers.parameters.selection import Detail
from trainkit.handlers.parameters.series import Series
from trainkit.handlers.parameters.unmatched import check_selection
from trainkit.handlers.sampling.sampler import Sampler
from trainkit.handlers.say_once import say_once
from trainkit.names import Selection

__all__ = ["SteppedParameters"]


class SteppedParameters(Parameters):
    """Parameters by the key of their optimizer, looked up once per iteration, with their tags.

    Args:
        model: A module, or a mapping from name to module.
        optimizers: An optimizer, or a mapping from name to optimizer.
        sampler: Of the monitor.
        scaler: The loss scaler, where it is not found by itself: see `LossScale`.
        detail: `auto`, `global`, `module` or `parameter`: see `Series`.
        include: Only these parameters: see `names.selected`.
        exclude: None of these.

    Raises:
        TypeError, ValueError: An argument is of the wrong kind or has a wrong value.
    """

    def __init__(
        self,
        model: nn.Module | Mapping[str, nn.Module],
        optimizers: Optimizer | Mapping[str, Optimizer],
        sampler: Sampler,
        *,
        scaler: GradScaler | None = None,
        detail: Detail = "auto",
        include: Selection = ("*",),
        exclude: Selection = (),
    ) -> None:
        if optimizers is None:
            raise TypeError(
                "optimizers must be one Optimizer or a mapping from name to Optimizer, got None"
            )
        super().__init__(model, optimizers, partial(say_once, sampler))
        self._steps = sampler.step_state
        self._steps.loss_scale.add(scaler)
        series = Series(detail, include, exclude)
        for line in check_selection(self.models, include, exclude):
            self.say(line)
        #: By optimizer.
        self.series = {key: series.among(self.namer(self.section(key))) for key in self.optimizers}

    def named(self, key: str) -> Named:
        """The parameters of one optimizer, as the models have them in this iteration."""
        self.look((id(self._steps), self._steps.iteration))
        return self.of(key)

    def tag(self, tag: str, key: str) -> str:
        """`tag` with this optimizer's name after the section, where there are several."""
        section, _, rest = tag.partition("/")
        return f"{section}/{self.section(key)}{rest}"
