"""Measuring at the optimizer's step: the only moment at which gradients and updates are true."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Engine
from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from trainkit.handlers.backward import BackwardEnd
from trainkit.handlers.cadence import Cadence
from trainkit.handlers.monitor import Monitor
from trainkit.handlers.parameters import Parameters, check_hooks
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
    measured at the first. Hooks live while it is armed; from one sampled iteration to the next
    they stay, and an iteration that is not sampled begins by taking them away.

    Args:
        model: A module, or a mapping from name to module.
        optimizers: An optimizer, or a mapping from name to optimizer.
        writer: Where the statistics go.
        every: How often, in iterations, or a `Sampler` shared with other monitors.
        scaler: The loss scaler, where it is not found by itself: see `LossScale`.
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
        scaler: GradScaler | None = None,
        detail: str = "auto",
        include: Sequence[str] = ("*",),
        exclude: Sequence[str] = (),
    ) -> None:
        super().__init__(writer, every)
        if optimizers is None:
            raise TypeError(
                "optimizers must be one Optimizer or a mapping from name to Optimizer, got None"
            )
        self.parameters = Parameters(model, optimizers)
        check_hooks(self.parameters.optimizers.values())
        self.series = Series(detail, include, exclude)
        self.loss_scale = LossScale(scaler)
        self.step = 0
        self._armed: set[str] = set()
        self._within: set[str] = set()
        self._hooks: dict[str, list[RemovableHandle]] = {}
        self._passes: dict[str, BackwardEnd] = {}
        self._in_hook = False
        self._engine: Engine | None = None

    @property
    def pending(self) -> bool:
        """Whether the step of some optimizer is still to come."""
        return bool(self._armed)

    def begin(self, engine: Engine) -> None:
        """Arm for the next step of each optimizer."""
        self._engine = engine
        self.loss_scale.begin(engine)
        for key, optimizer in self.parameters.optimizers.items():
            self._armed.add(key)
            if key not in self._hooks:
                self._hooks[key] = [
                    optimizer.register_step_pre_hook(self._hooked(self._before(key))),
                    optimizer.register_step_post_hook(self._hooked(self._after(key))),
                ]
            self._watch_backward(key)

    def end(self, engine: Engine) -> None:
        """See whether a step that should have come was skipped by the loss scaler."""
        self.step = engine.state.iteration
        for key in self._within:  # the step raised something
            self.discard(key)
        self._within.clear()
        for key in list(self._armed):
            if self.loss_scale.skipped(self.parameters.optimizers[key]):
                self.write_skipped(key)
                self._disarm(key)

    def rest(self) -> None:
        """Take the hooks away that wait for nothing."""
        self._remove([key for key in self._hooks if key not in self._armed])

    def cancel(self) -> None:
        """Take every hook away and forget what was begun; harmless at any time."""
        for key in self.parameters.optimizers:
            self._disarm(key)
        self._within.clear()
        self._remove(list(self._hooks))

    @abstractmethod
    def before_step(self, key: str, optimizer: Optimizer, closure: bool) -> None:
        """Look at what the optimizer sees; with a closure it will see it only within its step."""

    @abstractmethod
    def after_step(self, key: str, optimizer: Optimizer, closure: bool) -> None:
        """Look at what the optimizer did."""

    @abstractmethod
    def write_skipped(self, key: str) -> None:
        """Write that the scaler skipped this optimizer's step."""

    @abstractmethod
    def discard(self, key: str) -> None:
        """Give back what was kept for this optimizer's step."""

    def after_backward(self, key: str, optimizer: Optimizer) -> None:
        """Look at what a backward pass left; the scaler is noted."""
        self.loss_scale.note(optimizer)

    @property
    def watches_backward(self) -> bool:
        """Whether `after_backward` must be called; if not, a skipped step would go unnoticed."""
        return self.loss_scale.known

    def tag(self, tag: str, key: str) -> str:
        """`tag` with this optimizer's name after the section, where there are several."""
        section, _, rest = tag.partition("/")
        return f"{section}/{self.parameters.section(key)}{rest}"

    def _watch_backward(self, key: str) -> None:
        if not self.watches_backward:
            return
        tensors, watched = self.parameters.of(key).tensors, self._passes.get(key)
        if watched is not None and watched.tensors is tensors:
            return
        if watched is not None:
            watched.remove()
        optimizer = self.parameters.optimizers[key]

        def ended() -> None:
            if key in self._armed:
                with torch.no_grad():
                    self.guard(self.after_backward, key, optimizer)

        self._passes[key] = BackwardEnd(tensors, ended)

    def _hooked(self, function: Callable[..., None]) -> Callable[..., None]:
        # Around the guard: where it disables the monitor, the hooks must not disappear either.
        def hook(*args: Any) -> None:
            self._in_hook = True
            try:
                with torch.no_grad():
                    self.guard(function, *args)
            finally:
                self._in_hook = False

        return hook

    def _before(self, key: str) -> Callable[..., None]:
        def before(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            if key not in self._armed or self._engine is None:
                return
            self.step = self._engine.state.iteration
            self.loss_scale.find_in_stack(optimizer)
            self._within.add(key)
            self.before_step(key, optimizer, _has_closure(args, kwargs))

        return before

    def _after(self, key: str) -> Callable[..., None]:
        def after(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            if key not in self._within:
                return
            self._within.discard(key)
            self.after_step(key, optimizer, _has_closure(args, kwargs))
            self._disarm(key)

        return after

    def _disarm(self, key: str) -> None:
        self._armed.discard(key)
        self.loss_scale.forget(self.parameters.optimizers[key])
        self.discard(key)

    def _remove(self, keys: list[str]) -> None:
        hooks = [hook for key in keys for hook in self._hooks.pop(key)]
        for key in keys:
            watched = self._passes.pop(key, None)
            if watched is not None:
                watched.remove()
        if self._in_hook:  # the optimizer is going through its hooks, and fails if one disappears
            self.sampler.remove_later(hooks)
        else:
            for hook in hooks:
                hook.remove()


def _has_closure(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    # The first of the arguments is the optimizer itself.
    return any(callable(arg) for arg in args[1:]) or kwargs.get("closure") is not None
