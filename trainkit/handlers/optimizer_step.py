"""Measuring at the optimizer's step: the only moment at which gradients and updates are true."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Engine
from torch import nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from trainkit.handlers.cadence import Cadence
from trainkit.handlers.monitor import Monitor
from trainkit.handlers.parameters import Parameters
from trainkit.handlers.sampler import Sampler
from trainkit.handlers.scaling import LossScale
from trainkit.handlers.series import Series
from trainkit.writers.protocol import Writer

__all__ = ["StepMonitor"]


class StepMonitor(Monitor):
    """A monitor that measures just before and just after the step of each optimizer.

    A sampled iteration arms it; the next step of each optimizer is measured, in whichever
    iteration it comes (with gradient accumulation in a later one), and disarms it for that
    optimizer. So a step is measured once, and a loop that steps several times in an iteration is
    measured at the first. Hooks live only while it is armed.

    Args:
        model: A module, or a mapping from name to module.
        optimizers: An optimizer, or a mapping from name to optimizer.
        writer: Where the statistics go.
        every: How often, in iterations, or a `Sampler` shared with other monitors.
        scaler: The loss scaler; found by itself where it is `engine.state.scaler`, and else from
            the first step on that is not skipped.
        detail: `auto`, `global`, `module` or `parameter`: see `Series`.
        include: Only parameters whose names match one of these patterns.
        exclude: None whose name matches one of these.
    """

    def __init__(
        self,
        model: nn.Module | Mapping[str, nn.Module],
        optimizers: Optimizer | Mapping[str, Optimizer],
        writer: Writer,
        every: int | Cadence | Sampler = 1,
        *,
        scaler: torch.amp.GradScaler | None = None,
        detail: str = "auto",
        include: Sequence[str] = ("*",),
        exclude: Sequence[str] = (),
    ) -> None:
        super().__init__(writer, every)
        self.parameters = Parameters(model, optimizers)
        self.series = Series(detail, include, exclude)
        self.loss_scale = LossScale(scaler)
        self.step = 0
        self._armed: dict[str, list[RemovableHandle]] = {}
        self._spent: list[RemovableHandle] = []
        self._in_hook = False
        self._engine: Engine | None = None

    def begin(self, engine: Engine) -> None:
        """Arm for the next step of each optimizer."""
        self._engine = engine
        self._remove_spent()
        self.loss_scale.begin(engine)
        for key, optimizer in self.parameters.optimizers.items():
            if key not in self._armed:
                self._armed[key] = [
                    optimizer.register_step_pre_hook(self._hooked(self._before(key))),
                    optimizer.register_step_post_hook(self._hooked(self._after(key))),
                ]
                self.arm(key)

    def end(self, engine: Engine) -> None:
        """See whether a step that should have come was skipped by the loss scaler."""
        if self._armed and self.loss_scale.updated():
            for key in list(self._armed):
                if self.skipped(key):
                    self._disarm(key)
        self._remove_spent()

    def cancel(self) -> None:
        """Take every hook away and forget what was begun; harmless at any time."""
        for key in list(self._armed):
            self._disarm(key)
        self._remove_spent()

    @abstractmethod
    def arm(self, key: str) -> None:
        """Prepare for the next step of this optimizer."""

    @abstractmethod
    def before_step(self, key: str, optimizer: Optimizer) -> None:
        """Look at what the optimizer sees."""

    @abstractmethod
    def after_step(self, key: str, optimizer: Optimizer) -> None:
        """Look at what the optimizer did, and write."""

    @abstractmethod
    def skipped(self, key: str) -> bool:
        """Write that the scaler skipped this optimizer's step; False if there was none to skip."""

    @abstractmethod
    def disarm(self, key: str) -> None:
        """Give back what was prepared."""

    def tag(self, tag: str, key: str) -> str:
        """`tag` with this optimizer's name after the section, where there are several."""
        section, _, rest = tag.partition("/")
        return f"{section}/{self.parameters.section(key)}{rest}"

    def _hooked(self, function: Callable[..., None]) -> Callable[..., None]:
        # Around the guard: where it disables the monitor, the hooks must not disappear either.
        def hook(*args: Any) -> None:
            self._in_hook = True
            self.guard(function, *args)
            self._in_hook = False

        return hook

    def _before(self, key: str) -> Any:
        def before(optimizer: Optimizer, *_: Any) -> None:
            if key not in self._armed or self._engine is None:
                return
            self.step = self._engine.state.iteration
            self.loss_scale.find_in_stack()
            self.before_step(key, optimizer)

        return before

    def _after(self, key: str) -> Any:
        def after(optimizer: Optimizer, *_: Any) -> None:
            if key not in self._armed:
                return
            try:
                self.after_step(key, optimizer)
            finally:
                self._disarm(key)

        return after

    def _disarm(self, key: str) -> None:
        self._spent += self._armed.pop(key, ())
        self.disarm(key)
        self._remove_spent()

    def _remove_spent(self) -> None:
        if self._in_hook:  # the optimizer is going through its hooks, and fails if one disappears
            self.sampler.remove_later(self._spent)
        else:
            for handle in self._spent:
                handle.remove()
        self._spent = []
