"""The loss scaler of mixed precision: which one it is, by how much it scales, what it skipped."""

import sys
from types import FrameType
from typing import Any

import torch
from ignite.engine import Engine
from torch import Tensor
from torch.optim import Optimizer

__all__ = ["LossScale"]

_STEPPING = (torch.amp.GradScaler.step.__code__, torch.amp.GradScaler._maybe_opt_step.__code__)


class LossScale:
    """Finds the loss scaler of a loop and reads its state without reading the device.

    It is the one given, or `engine.state.scaler`, or the one whose `step` is found to be calling
    the optimizer: so it is known from the first step that is not skipped on.

    Args:
        scaler: The `GradScaler`, or None to find it.

    Raises:
        TypeError: It is something else.
    """

    def __init__(self, scaler: torch.amp.GradScaler | None = None) -> None:
        if scaler is not None and not isinstance(scaler, torch.amp.GradScaler):
            raise TypeError(f"scaler must be a torch.amp.GradScaler, got {scaler!r}")
        self._scaler = scaler
        self._states: Any = None

    @property
    def known(self) -> bool:
        """Whether there is a scaler at work, as far as is known."""
        return self._scaler is not None and self._scaler.is_enabled()

    def begin(self, engine: Engine) -> None:
        """Take note of where the scaler stands before an iteration."""
        if self._scaler is None:
            found = getattr(engine.state, "scaler", None)
            self._scaler = found if isinstance(found, torch.amp.GradScaler) else None
        self._states = self._optimizer_states()

    def find_in_stack(self) -> None:
        """Look for the scaler among the callers; to be called from an optimizer's step."""
        if self._scaler is not None:
            return
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if frame.f_code in _STEPPING:
                self._scaler = frame.f_locals["self"]
                return
            frame = frame.f_back

    def scale(self) -> Tensor | None:
        """The factor in front of the gradients of a backward pass now, 0-d, on its device."""
        # `get_scale()` would read the device.
        return getattr(self._scaler, "_scale", None) if self.known else None

    def inside_step(self, optimizer: Optimizer) -> tuple[Tensor | None, Tensor | None]:
        """What a fused optimizer unscales by within its step, and whether it will skip it."""
        return getattr(optimizer, "grad_scale", None), getattr(optimizer, "found_inf", None)

    def updated(self) -> bool:
        """Whether the scaler was updated since `begin`: a step that did not come was skipped."""
        # update() gives itself new per-optimizer states; nothing else on the host tells.
        return self.known and self._optimizer_states() is not self._states

    def _optimizer_states(self) -> Any:
        return getattr(self._scaler, "_per_optimizer_states", None)
