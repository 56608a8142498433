"""The loss scaler of mixed precision: which one it is, by how much it scales, what it skipped."""

import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from types import FrameType, FunctionType, MethodType, ModuleType
from typing import Any

from ignite.engine import Engine
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler, OptState
from torch.optim import Optimizer

from trainkit.handlers.sampling.around import process_function

__all__ = ["LossScale", "referred_to"]

# Between the hook and the scaler stand the step itself and what wraps it: schedulers, profilers,
# other libraries. The whole stack of a training script may be many times as deep.
_DEPTH = 16
_STEP, _MAYBE_STEP = GradScaler.step.__code__, GradScaler._maybe_opt_step.__code__


class LossScale:
    """Knows the loss scalers of a loop, and their state, without reading the device.

    They are the one given, `engine.state.scaler`, those that the process function refers to (from
    the start), and any whose `step` is found to be calling an optimizer (from then on). Which of
    them is whose, and what came of a step, stands in what a scaler notes of each optimizer between
    two calls of `update`.

    Args:
        scaler: A `GradScaler` that is none of these, or None.

    Raises:
        TypeError: It is something else.
    """

    def __init__(self, scaler: GradScaler | None = None) -> None:
        self._scalers: list[GradScaler] = []
        self._engine: Engine | None = None
        # What each scaler has noted since its last update, when an optimizer's gradients were made.
        self._noted: dict[int, list[dict[int, dict[str, Any]]]] = {}
        self.add(scaler)

    def add(self, scaler: GradScaler | None) -> None:
        """There is this scaler too.

        Raises:
            TypeError: It is something else.
        """
        if scaler is not None and not isinstance(scaler, GradScaler):
            raise TypeError(f"scaler must be a torch.amp.GradScaler, got {scaler!r}")
        self._add(scaler)

    @property
    def known(self) -> bool:
        """Whether there is a scaler at work, as far as is known."""
        return any(scaler.is_enabled() for scaler in self._scalers)

    def begin(self, engine: Engine) -> None:
        """Look for scalers in the engine."""
        self._add(getattr(engine.state, "scaler", None))
        if self._engine is not engine:
            self._engine = engine
            for found in referred_to(process_function(engine)):
                self._add(found)

    def find_in_stack(self, optimizer: Optimizer) -> None:
        """Look for the scaler among the callers; to be called from the optimizer's step."""
        if self.of(optimizer) is not None:
            return
        frame: FrameType | None = sys._getframe(1)
        for _ in range(_DEPTH):
            if frame is None:
                return
            code = frame.f_code
            if code is _STEP or code is _MAYBE_STEP:
                self._add(frame.f_locals["self"])
                return
            frame = frame.f_back

    def of(self, optimizer: Optimizer) -> GradScaler | None:
        """The scaler that is stepping this optimizer or has unscaled its gradients."""
        for scaler in self._scalers:
            if id(optimizer) in _states(scaler):
                return scaler
        return None

    def scale(self, optimizer: Optimizer) -> Tensor | None:
        """The factor that its gradients had after the backward pass, 0-d; None without a scaler."""
        # `get_scale()` would read the device.
        return getattr(self.of(optimizer), "_scale", None)

    def note(self, optimizer: Optimizer) -> None:
        """Take note, after a backward pass, of where the scalers stand."""
        self._noted[id(optimizer)] = [_states(scaler) for scaler in self._scalers]

    def skipped(self, optimizer: Optimizer) -> bool:
        """Whether a scaler was told to step since `note`: if no step came, it has skipped it."""
        # update() starts a new set of notes; the old one still tells.
        return any(
            states.get(id(optimizer), {}).get("stage") is OptState.STEPPED
            for states in self._noted.get(id(optimizer), ())
        )

    def forget(self, optimizer: Optimizer) -> None:
        """Forget what was noted."""
        self._noted.pop(id(optimizer), None)

    def inside_step(self, optimizer: Optimizer) -> tuple[Tensor | None, Tensor | None]:
        """What a fused optimizer unscales by within its step, and whether it will skip it."""
        return getattr(optimizer, "grad_scale", None), getattr(optimizer, "found_inf", None)

    def _add(self, found: Any) -> None:
        if isinstance(found, GradScaler) and not any(found is known for known in self._scalers):
            self._scalers.append(found)


def _states(scaler: GradScaler) -> dict[int, dict[str, Any]]:
    return getattr(scaler, "_per_optimizer_states", {})


def referred_to(function: Any, depth: int = 3) -> Iterator[Any]:
    """The objects that a function refers to, global, enclosing or bound, and what they hold."""
    if isinstance(function, partial):
        yield from (*function.args, *function.keywords.values())
        function = function.func
    if isinstance(function, MethodType):
        yield from _held_by(function.__self__)
        function = function.__func__
    if not isinstance(function, FunctionType):
        yield from _held_by(function)
        return
    names = function.__code__.co_names
    found = [function.__globals__[name] for name in names if name in function.__globals__]
    found += function.__defaults__ or ()
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # nothing is in it yet
            found.append(cell.cell_contents)
    for one in found:
        yield one
        if isinstance(one, FunctionType | MethodType | partial):
            if depth:  # it may be what does the step
                yield from referred_to(one, depth - 1)
        else:
            yield from _held_by(one)


def _held_by(thing: Any) -> Iterator[Any]:
    if isinstance(thing, type | ModuleType | nn.Module):
        return
    held: tuple[Any, ...] = ()
    with suppress(Exception):  # a proxy, say, may not let itself be looked into
        held = tuple(vars(thing).values())
    yield from held
