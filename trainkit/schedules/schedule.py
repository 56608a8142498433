"""A learning-rate schedule that knows when it moves, with a linear warm-up in front."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    CyclicLR,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
)

__all__ = ["Schedule", "as_schedule"]


class Schedule:
    """A schedule of one of torch's schedulers, with a linear warm-up in front.

    During the warm-up, in optimizer step i of n (1 ≤ i ≤ n), every learning rate is i / (n + 1) of
    what it would be; after that the scheduler has it alone. Warm-up always moves per iteration,
    the scheduler as `moves` says. A scheduler that moves per iteration starts after the warm-up.

    Args:
        optimizer: Whose learning rates move.
        scheduler: Makes the scheduler.
        moves: `iteration` (after every optimizer step), `epoch` (after every epoch) or `plateau`
            (after every evaluation, on its value).
        warmup_iterations: Length of the warm-up, in optimizer steps; 0: none.
        length: Moves after which the scheduler stands still; None: it never does.
        metric: With `plateau`, the validation metric that is watched, or `loss`.

    Raises:
        ValueError: A negative warm-up, or `moves` is none of these.

    Example:
        >>> import torch
        >>> from torch.optim.lr_scheduler import ExponentialLR
        >>> sgd = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        >>> schedule = Schedule(sgd, lambda o: ExponentialLR(o, 0.5), "iteration", 1)
        >>> rates = []
        >>> for _ in range(4):
        ...     rates.append(sgd.param_groups[0]["lr"])
        ...     sgd.step()
        ...     schedule.after_iteration()
        >>> rates
        [0.5, 1.0, 0.5, 0.25]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        scheduler: Callable[[Optimizer], LRScheduler],
        moves: str,
        warmup_iterations: int = 0,
        *,
        length: int | None = None,
        metric: str = "loss",
    ) -> None:
        if moves not in ("iteration", "epoch", "plateau"):
            raise ValueError(f"moves must be iteration, epoch or plateau, got {moves!r}")
        if warmup_iterations < 0:
            raise ValueError(
                f"scheduler.warmup_iterations must be 0 or more, got {warmup_iterations}"
            )
        self.optimizer = optimizer
        self.moves = moves
        self.warmup_iterations = warmup_iterations
        self.length = length
        self.metric = metric
        self.scheduler = scheduler(optimizer)
        self._steps = 0
        self._moved = 0
        self._targets = self._read()
        self._warm_up()

    def after_iteration(self) -> None:
        """Move on, after a step of the optimizer."""
        self._steps += 1
        if self._steps < self.warmup_iterations:
            self._warm_up()
            return
        if self._steps == self.warmup_iterations:
            self._write(self._targets)
        elif self.moves == "iteration":
            self._move()

    def after_epoch(self) -> None:
        """Move on, after an epoch."""
        if self.moves == "epoch":
            self._move()

    def after_evaluation(self, value: float) -> None:
        """Move on, after an evaluation that gave `value` (smaller is better, unless told)."""
        if self.moves == "plateau":
            self._move(value)

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on from here."""
        return {
            "scheduler": self.scheduler.state_dict(),
            "steps": self._steps,
            "moved": self._moved,
            "targets": list(self._targets),
            "length": self.length,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there (the learning rates themselves are the optimizer's state).

        The schedule keeps the length that it had, also where the run is longer now.
        """
        self.scheduler.load_state_dict(state_dict["scheduler"])
        self._steps = state_dict["steps"]
        self._moved = state_dict["moved"]
        self._targets = list(state_dict["targets"])
        self.length = state_dict["length"]

    def _move(self, *value: float) -> None:
        if self._moved == self.length:
            return
        self._moved += 1
        # torch's schedulers go on from the learning rates that they find.
        self._write(self._targets)
        self.scheduler.step(*value)  # type: ignore[arg-type]  # a plateau's value
        self._targets = self._read()
        self._warm_up()

    def _warm_up(self) -> None:
        if self._steps < self.warmup_iterations:
            factor = (self._steps + 1) / (self.warmup_iterations + 1)
            self._write([factor * lr for lr in self._targets])

    def _read(self) -> list[float | Tensor]:
        rates = [group["lr"] for group in self.optimizer.param_groups]
        return [lr.clone() if isinstance(lr, Tensor) else lr for lr in rates]

    def _write(self, rates: Sequence[float | Tensor]) -> None:
        for group, lr in zip(self.optimizer.param_groups, rates, strict=True):
            if isinstance(group["lr"], Tensor):  # a compiled or captured step reads this tensor
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr


def as_schedule(scheduler: Any) -> Schedule:
    """The schedule itself, or one around a scheduler of torch's own.

    Args:
        scheduler: A `Schedule`, a `ReduceLROnPlateau` (moves on the validation loss), a
            `OneCycleLR` or `CyclicLR` (per iteration), or any other `LRScheduler` (per epoch).

    Raises:
        TypeError: It is none of these.
    """
    if isinstance(scheduler, Schedule):
        return scheduler
    if not isinstance(scheduler, LRScheduler):
        raise TypeError(
            "scheduler must be one of trainkit.schedules or torch.optim.lr_scheduler, got "
            f"{type(scheduler).__name__}"
        )
    moves, length = "epoch", None
    if isinstance(scheduler, ReduceLROnPlateau):
        moves = "plateau"
    elif isinstance(scheduler, OneCycleLR):
        moves, length = "iteration", scheduler.total_steps - 1
    elif isinstance(scheduler, CyclicLR):
        moves = "iteration"
    return Schedule(scheduler.optimizer, lambda _: scheduler, moves, length=length)
