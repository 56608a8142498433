"""Updates: how far each step moves the weights, relative to where they were."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from trainkit.handlers.cadence import Cadence
from trainkit.handlers.optimizer_step import StepMonitor
from trainkit.handlers.sampler import Sampler
from trainkit.handlers.series import ratio
from trainkit.stats import global_norm, norms
from trainkit.writers.protocol import Writer

__all__ = ["UpdateMonitor"]

# A difference of two of these is exact enough in their own precision.
_PRECISE = (torch.float32, torch.float64, torch.complex64, torch.complex128)


class _Copied(NamedTuple):
    """Weights that a step may move, and what they were before it."""

    names: tuple[str, ...]
    weights: list[Tensor]
    copies: list[Tensor]


class UpdateMonitor(StepMonitor):
    """Writes the size of each optimizer step relative to the weights, measured and not computed.

    ratio = ‖w_after − w_before‖ / ‖w_before‖, whatever the optimizer does (momentum, adaptive
    rates, weight decay, a learning rate per group). Where ‖w_before‖ is 0 it is taken relative to
    ‖w_after‖: 1 if the weights moved at all, 0 if not. Half precision is subtracted in float32.
    Parameters without a gradient in this step (the optimizer does not touch them) or without
    elements are left out. A step that the loss scaler skips is written as skipped, and not as an
    update of 0; where the optimizer itself does the skipping (fused ones), the ratios are NaN.

    Tags (with several optimizers `<optimizer>/` comes after the section):
        `updates/global_ratio`; `updates.ratio/<name>`; where there is a loss scaler
        `updates/skipped` (1 or 0).

    Args:
        model: A module, or a mapping from name to module; wrapped and compiled ones too.
        optimizers: An optimizer, or a mapping from name to optimizer.
        writer: Where the statistics go.
        every: How often, in iterations, or a `Sampler` shared with other monitors.
        scaler: The loss scaler, where the process function does not refer to it and it is not
            `engine.state.scaler`; else it is found, at the latest in its first step that counts.
        detail: `auto` (per parameter up to 300 of them; beyond, per module, with the parameters of
            the largest ratios by name), `global`, `module` or `parameter`.
        include: Only parameters whose names match one of these patterns; the global ratio is of
            all.
        exclude: None whose name matches one of these.

    Raises:
        TypeError, ValueError: An argument is of the wrong kind or has a wrong value.

    Cost:
        In a sampled iteration a copy of the parameters, given back after the step, and three
        passes over them.

    Example:
        >>> from ignite.engine import Engine
        >>> from trainkit.writers import MemoryWriter
        >>> model, writer = torch.nn.Linear(1, 1, bias=False), MemoryWriter()
        >>> _ = torch.nn.init.constant_(model.weight, 2.0)
        >>> sgd = torch.optim.SGD(model.parameters(), lr=0.5)
        >>> def step(engine: Engine, x: Tensor) -> None:
        ...     model(x).sum().backward()
        ...     sgd.step()
        >>> handle = UpdateMonitor(model, sgd, writer).attach(trainer := Engine(step))
        >>> _ = trainer.run([torch.ones(1, 1)])
        >>> writer.scalars["updates.ratio/weight"]
        [(1, 0.25)]
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
        super().__init__(
            model, optimizers, writer, every,
            scaler=scaler, detail=detail, include=include, exclude=exclude,
        )  # fmt: skip
        self._copied: dict[str, _Copied] = {}

    def before_step(self, key: str, optimizer: Optimizer, closure: bool) -> None:
        """Copy the weights."""
        found = self.parameters.of(key)
        # A closure makes the gradients within the step: until then, any of them may move.
        moving = [
            (name, p)
            for name, p in zip(found.names, found.tensors, strict=True)
            if (p.grad is not None or (closure and p.requires_grad)) and p.numel()
        ]
        names = tuple(name for name, _ in moving)
        weights = [p for _, p in moving]
        self._copied[key] = _Copied(names, weights, [p.clone() for p in weights])

    def after_step(self, key: str, optimizer: Optimizer, closure: bool) -> None:
        """Subtract, and write."""
        names, weights, copies = self._copied.pop(key)
        if closure and any(p.grad is None for p in weights):
            kept = [i for i, p in enumerate(weights) if p.grad is not None]
            names = tuple(names[i] for i in kept)
            weights, copies = [weights[i] for i in kept], [copies[i] for i in kept]
        if not weights:
            return
        before = norms(copies)
        moved = _distances(copies, weights)
        _, found_inf = self.loss_scale.inside_step(optimizer)
        if self.loss_scale.of(optimizer) is not None:
            skipped = 0.0 if found_inf is None else (found_inf.reshape(()) > 0).to(moved.dtype)
            self.writer.write_scalars(self.step, {self.tag("updates/skipped", key): skipped})
        if found_inf is not None:
            moved = moved.where(found_inf.reshape(()).to(moved.device) == 0, torch.nan)
        total = ratio(global_norm(moved), global_norm(before))
        self.writer.write_scalars(self.step, {self.tag("updates/global_ratio", key): total})
        if not self.series.chosen(names):
            return
        prefix = self.parameters.section(key)
        self.writer.write_scalars(self.step, self.series.ratios(moved, before, names, prefix))
        worst = self.series.worst("updates", "ratio", ratio(moved, before), names, prefix)
        if worst is not None:
            self.writer.write_scalars(self.step, worst)

    def write_skipped(self, key: str) -> None:
        """Write that the scaler skipped this optimizer's step."""
        self.writer.write_scalars(self.step, {self.tag("updates/skipped", key): 1.0})

    def discard(self, key: str) -> None:
        """Give the copy back."""
        self._copied.pop(key, None)


def _distances(copies: list[Tensor], weights: list[Tensor]) -> Tensor:
    """The norm of each difference; the copies are used up."""
    if len({(t.device, t.dtype) for t in copies}) == 1 and copies[0].dtype in _PRECISE:
        torch._foreach_sub_(copies, weights)
        return norms(copies)
    found = []
    for copy, weight in zip(copies, weights, strict=True):
        # One after the other: half precision takes more room in float32.
        wide = copy if copy.dtype in _PRECISE else copy.float()
        found.append(norms([wide - weight.to(wide.dtype)]))
    precise = torch.float64 if any(n.dtype is torch.float64 for n in found) else torch.float32
    return torch.cat([n.to(found[0].device, precise) for n in found])
