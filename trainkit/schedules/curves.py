"""The schedules that a config can choose from."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LambdaLR,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    StepLR,
)

from trainkit.schedules.schedule import Schedule

__all__ = ["constant", "cosine", "multi_step", "one_cycle", "reduce_on_plateau", "step"]


def constant(optimizer: Optimizer, warmup_iterations: int = 0) -> Schedule:
    """The optimizer's own learning rate all the time.

    Args:
        optimizer: Whose learning rates move.
        warmup_iterations: Linear warm-up in front, in optimizer steps.
    """
    return Schedule(optimizer, lambda o: LambdaLR(o, _one), "epoch", warmup_iterations, length=0)


def step(
    optimizer: Optimizer,
    step_size: int,
    gamma: float = 0.1,
    per: str = "epoch",
    warmup_iterations: int = 0,
) -> Schedule:
    """The learning rate times `gamma` every `step_size` epochs: lr · gamma^⌊epoch / step_size⌋.

    Args:
        optimizer: Whose learning rates move.
        step_size: In epochs, or in optimizer steps with `per: iteration`.
        gamma: The factor.
        per: `epoch` or `iteration`.
        warmup_iterations: Linear warm-up in front, in optimizer steps.

    Raises:
        ValueError: A value out of range.
    """
    _check(step_size >= 1, f"scheduler.step_size must be 1 or more, got {step_size}")
    _check(gamma > 0, f"scheduler.gamma must be greater than 0, got {gamma}")
    return Schedule(optimizer, lambda o: StepLR(o, step_size, gamma), _per(per), warmup_iterations)


def multi_step(
    optimizer: Optimizer,
    milestones: Sequence[int],
    gamma: float = 0.1,
    per: str = "epoch",
    warmup_iterations: int = 0,
) -> Schedule:
    """The learning rate times `gamma` after each of the milestones.

    Args:
        optimizer: Whose learning rates move.
        milestones: Ascending, in epochs, or in optimizer steps with `per: iteration`.
        gamma: The factor.
        per: `epoch` or `iteration`.
        warmup_iterations: Linear warm-up in front, in optimizer steps.

    Raises:
        ValueError: A value out of range.
    """
    marks = [int(milestone) for milestone in milestones]
    _check(
        bool(marks) and marks[0] >= 1 and all(a < b for a, b in pairwise(marks)),
        f"scheduler.milestones must be ascending numbers, 1 or more, got {list(milestones)}",
    )
    _check(gamma > 0, f"scheduler.gamma must be greater than 0, got {gamma}")
    return Schedule(optimizer, lambda o: MultiStepLR(o, marks, gamma), _per(per), warmup_iterations)


def cosine(
    optimizer: Optimizer, iterations: int, minimum: float = 0.0, warmup_iterations: int = 0
) -> Schedule:
    """Half a cosine from the optimizer's learning rate down to `minimum` at the end of the run.

    lr(i) = minimum + (lr − minimum) · (1 + cos(π · i / n)) / 2, i of n optimizer steps after the
    warm-up.

    Args:
        optimizer: Whose learning rates move.
        iterations: Of the whole run, in optimizer steps.
        minimum: The learning rate at the end.
        warmup_iterations: Linear warm-up in front, in optimizer steps.

    Raises:
        ValueError: A value out of range, or a warm-up as long as the run.

    Source: Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017.
    """
    _check(minimum >= 0, f"scheduler.minimum must be 0 or more, got {minimum}")
    length = _after_warmup(iterations, warmup_iterations)
    return Schedule(
        optimizer,
        lambda o: CosineAnnealingLR(o, length, eta_min=minimum),
        "iteration",
        warmup_iterations,
        length=length,
    )


def one_cycle(
    optimizer: Optimizer,
    iterations: int,
    rise: float = 0.3,
    start_factor: float = 0.04,
    end_factor: float = 4e-6,
    cycle_momentum: bool | None = None,
    warmup_iterations: int = 0,
) -> Schedule:
    """Up to the optimizer's learning rate and down again, in one cosine cycle over the run.

    Args:
        optimizer: Whose learning rates move; what it was given is the peak.
        iterations: Of the whole run, in optimizer steps.
        rise: Share of the run in which the learning rate rises.
        start_factor: First learning rate, as a share of the peak.
        end_factor: Last learning rate, as a share of the peak.
        cycle_momentum: Let the momentum (or Adam's first beta) move the opposite way, between
            0.95 and 0.85; None: where the optimizer uses momentum.
        warmup_iterations: Linear warm-up in front, in optimizer steps.

    Raises:
        ValueError: A value out of range, or a warm-up as long as the run.

    Source: Smith and Topin, "Super-Convergence", 2018.
    """
    _check(0 < rise < 1, f"scheduler.rise must be between 0 and 1, got {rise}")
    _check(0 < start_factor <= 1, f"scheduler.start_factor must be in (0, 1], got {start_factor}")
    _check(
        0 < end_factor <= start_factor,
        f"scheduler.end_factor must be in (0, start_factor={start_factor}], got {end_factor}",
    )
    length = _after_warmup(iterations, warmup_iterations)
    groups = optimizer.param_groups
    if cycle_momentum is None:
        cycle_momentum = all("betas" in group or group.get("momentum", 0) > 0 for group in groups)
    return Schedule(
        optimizer,
        lambda o: OneCycleLR(
            o,
            max_lr=[float(group["lr"]) for group in groups],
            total_steps=max(length, 2),  # a cycle of one step has no length to divide by
            pct_start=rise,
            div_factor=1 / start_factor,
            final_div_factor=start_factor / end_factor,
            cycle_momentum=bool(cycle_momentum),
        ),
        "iteration",
        warmup_iterations,
        length=max(length, 2) - 1,
    )


def reduce_on_plateau(
    optimizer: Optimizer,
    factor: float = 0.1,
    patience: int = 10,
    metric: str = "loss",
    mode: str = "min",
    threshold: float = 1e-4,
    minimum: float = 0.0,
    warmup_iterations: int = 0,
) -> Schedule:
    """The learning rate times `factor` when a validation metric has stopped getting better.

    Args:
        optimizer: Whose learning rates move.
        factor: The factor.
        patience: Evaluations without improvement that are let pass.
        metric: A validation metric by name, or `loss`.
        mode: `min` or `max`: which is better.
        threshold: Relative change that counts as an improvement.
        minimum: The learning rate never gets smaller.
        warmup_iterations: Linear warm-up in front, in optimizer steps.

    Raises:
        ValueError: A value out of range.
    """
    _check(0 < factor < 1, f"scheduler.factor must be between 0 and 1, got {factor}")
    _check(patience >= 0, f"scheduler.patience must be 0 or more, got {patience}")
    _check(minimum >= 0, f"scheduler.minimum must be 0 or more, got {minimum}")
    _check(mode in ("min", "max"), f"scheduler.mode must be min or max, got {mode!r}")
    better: Literal["min", "max"] = "min" if mode == "min" else "max"
    return Schedule(
        optimizer,
        lambda o: ReduceLROnPlateau(
            o, better, factor, patience, threshold=threshold, min_lr=minimum
        ),
        "plateau",
        warmup_iterations,
        metric=metric,
    )


def _one(epoch: int) -> float:
    return 1.0


def _check(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)


def _per(per: str) -> str:
    _check(per in ("epoch", "iteration"), f"scheduler.per must be epoch or iteration, got {per!r}")
    return per


def _after_warmup(iterations: int, warmup_iterations: int) -> int:
    _check(
        iterations > warmup_iterations,
        f"scheduler.warmup_iterations must leave at least one of the run's {iterations} "
        f"optimizer steps, got {warmup_iterations}",
    )
    return iterations - warmup_iterations
