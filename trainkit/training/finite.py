"""Report a non-finite loss when it happens, with or without monitoring."""

import logging
from collections.abc import Callable, Mapping, Sequence
from math import inf, isfinite
from typing import Any

import torch
from ignite.engine import Engine
from torch import Tensor, nn

from trainkit.handlers.sampling.visible_loss import SECTIONS, loss_in_sight

__all__ = ["LossWatch", "NonFiniteLossError", "all_finite"]

_log = logging.getLogger("trainkit.training.finite")
_KEPT = 512  # losses on a device that are kept for one common read


class NonFiniteLossError(RuntimeError):
    """The loss or the weights were NaN or infinite, and `trainer.on_non_finite` ends the run."""


class LossWatch:
    """Looks at the loss of every iteration, and says once when it is not finite.

    In main memory each loss is looked at at once. On a device nothing is read per iteration: the
    losses themselves are kept (512 at most, then one small tensor says which were finite), and
    looked at with an evaluation.

    Args:
        on_non_finite: As in `TrainerSettings`.
        weights_are_finite: Looks at the weights, where the loss is not finite.
        on_first: Called when the first loss was found that is not finite.
        scaled: A loss scaler is at work: it skips steps with gradients that are not finite, which
            is no fault.
    """

    def __init__(
        self,
        on_non_finite: str = "warn",
        *,
        scaled: bool = False,
        weights_are_finite: Callable[[], bool] = lambda: True,
        on_first: Callable[[], object] = lambda: None,
    ) -> None:
        self._on_non_finite = on_non_finite
        self._ends = on_non_finite in ("stop", "weights")
        self._weights_are_finite = weights_are_finite
        self._on_first = on_first
        self._scaled = scaled
        self._looking = True
        self._waiting: list[Tensor] = []
        self._folded: list[Tensor] = []  # True where a loss was finite
        self._from = 0  # the iteration before the first kept loss
        self._others_told = False
        self.first: int | None = None
        self.ends_finite = True

    def look(self, trainer: Engine) -> None:
        """Look at the loss of the iteration that was just made; called after every one.

        Raises:
            NonFiniteLossError: It is not finite, and the run is to stop.
        """
        if not self._looking:
            return
        state = trainer.state
        try:
            loss = loss_in_sight(state.output)
            if loss is None:
                self._keep(state.output, state.iteration)
                return
        except Exception:  # an odd output of the step must not end the run
            self._looking = False
            _log.exception("the loss cannot be looked at, and is not any more")
            return
        self.ends_finite = -inf < loss < inf
        if not self.ends_finite and (self.first is None or self._ends):
            self._found(state.iteration, _name_of(state.output), str(loss))

    def look_at_device(self, iteration: int) -> None:
        """Look at the losses that wait on a device, in one read.

        Args:
            iteration: The last one that was made.

        Raises:
            NonFiniteLossError: One was not finite, and the run is to stop.
        """
        self._fold()
        if not self._folded:
            return
        finite = torch.cat(self._folded).tolist()
        self._folded = []
        first, self._from = self._from + 1, iteration
        self.ends_finite = finite[-1]
        if not all(finite):
            self._found(first + finite.index(False), "loss/total", "not finite")

    def look_at_values(self, iteration: int, values: Mapping[str, Mapping[str, float]]) -> None:
        """Look at the losses of an evaluation.

        Raises:
            NonFiniteLossError: One is not finite, and the run is to stop.
        """
        bad = [part for part, numbers in values.items() if not isfinite(numbers.get("loss", 0.0))]
        if values:
            self.ends_finite = self.ends_finite and not bad
        if bad:
            self._found(iteration, f"the {bad[0]} loss", str(values[bad[0]]["loss"]))

    def hear(self, step: int, tags: Sequence[str]) -> None:
        """These tags were not finite at that step; called in the thread of a writer."""
        tags = [tag for tag in tags if tag.startswith(SECTIONS)]
        if self._scaled:
            tags = [tag for tag in tags if not tag.startswith("gradients")]
        if not tags or self.first is not None or self._others_told:
            return
        self._others_told = True
        # The loss's own name first: what else is not finite mostly follows from it.
        first, *others = sorted(tags, key=lambda tag: (not tag.startswith("loss/"), tag))
        more = f" (and {len(others)} more tags)" if others else ""
        _log.warning("%s is not finite at iteration %d%s: %s", first, step, more, _ADVICE)

    def state_dict(self) -> dict[str, Any]:
        """What was found so far; losses that wait on a device are looked at first."""
        return {
            "first": self.first,
            "ends_finite": self.ends_finite,
            "others_told": self._others_told,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.first = state_dict["first"]
        self.ends_finite = state_dict["ends_finite"]
        self._others_told = state_dict["others_told"]

    def _keep(self, output: Any, iteration: int) -> None:
        loss = output.get("loss") if isinstance(output, Mapping) else output
        if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.is_floating_point():
            return
        if not self._waiting and not self._folded:
            self._from = iteration - 1
        self._waiting.append(loss.detach().reshape(1))
        if len(self._waiting) >= _KEPT:
            self._fold()

    def _fold(self) -> None:
        if self._waiting:
            self._folded.append(torch.isfinite(torch.cat(self._waiting)))
            self._waiting = []

    def _found(self, iteration: int, name: str, value: str) -> None:
        if self.first is None:
            self.first = iteration
            _log.warning("%s is %s at iteration %d: %s", name, value, iteration, _ADVICE)
            self._on_first()
        if self._on_non_finite == "stop":
            raise NonFiniteLossError(
                f"{name} is {value} at iteration {iteration}; trainer.on_non_finite=warn goes on"
            )
        if self._on_non_finite == "weights" and not self._weights_are_finite():
            raise NonFiniteLossError(
                f"the weights are not finite at iteration {iteration}, and nothing recovers from "
                f"that (the first loss that was not: iteration {self.first}); "
                "trainer.on_non_finite=warn goes on"
            )


def all_finite(models: Mapping[str, nn.Module]) -> bool:
    """Whether every parameter of the models is."""
    parameters = [p for module in models.values() for p in module.parameters()]
    return all(bool(p.isfinite().all()) for p in parameters)


_ADVICE = (
    "look at gradients/global_norm and activations before it; a lower learning rate or "
    "trainer.clip_grad_norm often helps"
)


def _name_of(output: Any) -> str:
    """`loss/total`, and the first component that is not finite."""
    losses = output.get("losses") if isinstance(output, Mapping) else None
    if isinstance(losses, Mapping) and len(losses) > 1:
        for name, value in losses.items():
            seen = loss_in_sight(value)
            if seen is not None and not isfinite(seen):
                return f"loss/total (from loss/{name})"
    return "loss/total"
