"""Measuring at the optimizer's step: the only moment at which gradients and updates are true."""

from collections.abc import Mapping
from functools import partial

from ignite.engine import Engine, RemovableEventHandle
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from trainkit.handlers.monitor import Monitor
from trainkit.handlers.parameters.held import Named, Parameters, check_hooks
from trainkit.handlers.parameters.series import Series
from trainkit.handlers.parameters.unmatched import check_selection
from trainkit.handlers.sampling.cadence import When
from trainkit.handlers.sampling.sampler import Sampler
from trainkit.handlers.say_once import say_once
from trainkit.names import Selection
from trainkit.writers.protocol import Writer

__all__ = ["StepMonitor", "StepObserver"]


class StepObserver(Monitor):
    """A monitor that looks at optimizers just before their steps, and perhaps after them.

    A sampled iteration arms it; the next step of each optimizer is observed, in whichever
    iteration it comes (with gradient accumulation in a later one), and disarms it for that
    optimizer. So a step is observed once, and a loop that steps several times in an iteration is
    observed at the first. The hooks are those of `Sampler.steps`, shared with all other observers.

    Args:
        optimizers: From the name under which its steps are told, to optimizer.
        writer: Where the statistics go.
        every: How often, in iterations, or a `Sampler` shared with other monitors.
    """

    #: Whether it waits for the next step where the loss scaler skipped one.
    outlasts_skipping = False

    def __init__(
        self,
        optimizers: Mapping[str, Optimizer],
        writer: Writer,
        every: When | Sampler = 1,
    ) -> None:
        super().__init__(writer, every)
        check_hooks(optimizers.values())
        self.optimizers = optimizers
        # Its `iteration` is the one in which a step came.
        self.steps = self.sampler.steps
        self.loss_scale = self.steps.loss_scale

    def attach(self, engine: Engine) -> RemovableEventHandle:
        """Observe the steps that come in or after sampled iterations of `engine`.

        Returns:
            Ignite's handle; after its `remove()` no hook is left anywhere.

        Raises:
            ValueError: The monitor is attached already.
        """
        handle = super().attach(engine)
        self.steps.join(self)
        return handle

    def cancel(self) -> None:
        """Take every hook away and forget what was begun; harmless at any time."""
        self.steps.leave_out(self)

    def has_own(self, name: str) -> bool:
        """Whether there is anything to call under this name: a method that does nothing is not."""
        return getattr(type(self), name) is not getattr(StepObserver, name)

    def tensors(self, key: str) -> tuple[Tensor, ...]:
        """What this optimizer moves, the same tuple while it is the same."""
        return ()

    def after_backward(self, key: str, optimizer: Optimizer) -> None:
        """Look at what a backward pass left."""

    def before_step(self, key: str, optimizer: Optimizer, closure: bool) -> None:
        """Look at what the optimizer sees; with a closure it will see it only within its step."""

    def before_inner_step(self, key: str, optimizer: Optimizer, closure: bool) -> None:
        """Look again: a step of a subclass has called `super().step()`, and what it did is seen."""

    def after_step(self, key: str, optimizer: Optimizer, closure: bool) -> None:
        """Look at what the optimizer did."""

    def skipped(self, key: str) -> None:
        """Write that the loss scaler skipped this optimizer's step."""

    def discard(self, key: str) -> None:
        """Give back what was kept for this optimizer's step."""


class StepMonitor(StepObserver):
    """Measures the parameters of models, or their gradients, at the optimizers' steps.

    Args:
        model: A module, or a mapping from name to module.
        optimizers: An optimizer, or a mapping from name to optimizer.
        writer: Where the statistics go.
        every: How often, in iterations, or a `Sampler` shared with other monitors.
        scaler: The loss scaler, where it is not found by itself: see `LossScale`.
        detail: `auto`, `global`, `module` or `parameter`: see `Series`.
        include: Only these parameters: see `names.selected`.
        exclude: None of these.
    """

    def __init__(
        self,
        model: nn.Module | Mapping[str, nn.Module],
        optimizers: Optimizer | Mapping[str, Optimizer],
        writer: Writer,
        every: When | Sampler = 1,
        *,
        scaler: GradScaler | None = None,
        detail: str = "auto",
        include: Selection = ("*",),
        exclude: Selection = (),
    ) -> None:
        if optimizers is None:
            raise TypeError(
                "optimizers must be one Optimizer or a mapping from name to Optimizer, got None"
            )
        self.parameters = Parameters(model, optimizers)
        super().__init__(self.parameters.optimizers, writer, every)
        self.parameters.say = partial(say_once, self.sampler)
        series = Series(detail, include, exclude)
        for line in check_selection(self.parameters.models, include, exclude):
            self.parameters.say(line)
        sections = {key: self.parameters.section(key) for key in self.optimizers}
        #: By optimizer.
        self.series = {
            key: series.among(self.parameters.namer(section)) for key, section in sections.items()
        }
        self.loss_scale.add(scaler)

    def tensors(self, key: str) -> tuple[Tensor, ...]:
        """The parameters that this optimizer moves."""
        return self.named(key).tensors

    def named(self, key: str) -> Named:
        """The same with their names, as the models have them in this iteration."""
        self.parameters.look((id(self.steps), self.steps.iteration))
        return self.parameters.of(key)

    def tag(self, tag: str, key: str) -> str:
        """`tag` with this optimizer's name after the section, where there are several."""
        section, _, rest = tag.partition("/")
        return f"{section}/{self.parameters.section(key)}{rest}"
