"""Updates: how far each step moves the weights, relative to where they were."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trainkit.handlers.cadence import Cadence
from trainkit.handlers.optimizer_step import StepMonitor
from trainkit.handlers.sampler import Sampler
from trainkit.stats import global_norm, norms
from trainkit.writers.protocol import Writer

__all__ = ["UpdateMonitor"]


class UpdateMonitor(StepMonitor):
    """Writes the size of each optimizer step relative to the weights, measured and not computed.

    ratio = ‖w_after − w_before‖ / ‖w_before‖, whatever the optimizer does (momentum, adaptive
    rates, weight decay, a learning rate per group). Where ‖w_before‖ is 0 it is taken relative to
    ‖w_after‖: 1 if the weights moved at all, 0 if not. Half precision is subtracted in float32.
    Parameters without a gradient in this step are left out: the optimizer does not touch them. A
    step that the loss scaler skips is written as skipped, and not as an update of 0; where the
    optimizer itself does the skipping (fused ones), the ratios are NaN.

    Tags (with several optimizers `<optimizer>/` comes after the section):
        `updates/global_ratio`; `updates.ratio/<name>`; where there is a loss scaler
        `updates/skipped` (1 or 0).

    Args:
        model: A module, or a mapping from name to module; wrapped and compiled ones too.
        optimizers: An optimizer, or a mapping from name to optimizer.
        writer: Where the statistics go.
        every: How often, in iterations, or a `Sampler` shared with other monitors.
        scaler: The loss scaler; found by itself where it is `engine.state.scaler`, and else from
            the first step on that is not skipped.
        detail: `auto` (per parameter up to 300 of them, per module beyond), `global`, `module` or
            `parameter`.
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
        scaler: torch.amp.GradScaler | None = None,
        detail: str = "auto",
        include: Sequence[str] = ("*",),
        exclude: Sequence[str] = (),
    ) -> None:
        super().__init__(
            model, optimizers, writer, every,
            scaler=scaler, detail=detail, include=include, exclude=exclude,
        )  # fmt: skip
        self._before_it: dict[str, tuple[tuple[str, ...], list[Tensor], list[Tensor]]] = {}

    def arm(self, key: str) -> None:
        """Nothing to prepare before the step."""

    def disarm(self, key: str) -> None:
        """Give the copy back."""
        self._before_it.pop(key, None)

    def before_step(self, key: str, optimizer: Optimizer) -> None:
        """Copy the weights."""
        found = self.parameters.of(key)
        # A closure makes the gradients within the step: then any of them may move.
        some = any(p.grad is not None for p in found.tensors)
        pairs = zip(found.names, found.tensors, strict=True)
        moving = [(n, p.detach()) for n, p in pairs if p.grad is not None or not some]
        if not moving:
            return
        names, weights = zip(*moving, strict=True)
        copies = [_wide(p).clone() if _wide(p) is p else _wide(p) for p in weights]
        self._before_it[key] = (names, list(weights), copies)

    def after_step(self, key: str, optimizer: Optimizer) -> None:
        """Subtract, and write."""
        if key not in self._before_it:
            return
        names, weights, copies = self._before_it.pop(key)
        before = norms(copies)
        _, found_inf = self.loss_scale.inside_step(optimizer)
        after = [_wide(p) for p in weights]
        _subtract_(copies, after)
        moved = norms(copies)
        del copies
        ratio, total = _ratio(moved, before), _ratio(global_norm(moved), global_norm(before))
        scalars: dict[str, Any] = {}
        if self.loss_scale.known:
            skipped = 0.0 if found_inf is None else found_inf.detach().reshape(())
            scalars[self.tag("updates/skipped", key)] = skipped
            if found_inf is not None:
                nothing = found_inf.reshape(()).to(ratio.device) > 0
                ratio, total = (r.where(~nothing, torch.nan) for r in (ratio, total))
        scalars[self.tag("updates/global_ratio", key)] = total
        self.writer.write_scalars(self.step, scalars)
        chosen = self.series.chosen(names)
        if not chosen:
            return
        shown = tuple(names[i] for i in chosen)
        sizes = [weights[i].numel() for i in chosen]
        prefix = self.parameters.section(key)
        if self.series.per_parameter(names):
            if len(chosen) < len(names):
                ratio = ratio[torch.tensor(chosen, device=ratio.device)]
            columns = {"ratio": ratio}
            found = self.series.scalars("updates", columns, shown, sizes, prefix)
        else:
            index = torch.tensor(chosen, device=ratio.device)
            found = self.series.ratios(moved[index], before[index], shown, prefix)
        self.writer.write_scalars(self.step, found)

    def skipped(self, key: str) -> bool:
        """Write that the scaler skipped this optimizer's step."""
        assert self._engine is not None  # noqa: S101
        step = self._engine.state.iteration
        self.writer.write_scalars(step, {self.tag("updates/skipped", key): 1.0})
        return True


def _wide(tensor: Tensor) -> Tensor:
    half = tensor.dtype.is_floating_point and tensor.dtype.itemsize < 4
    return tensor.float() if half else tensor


def _subtract_(minuends: list[Tensor], subtrahends: list[Tensor]) -> None:
    if len({(t.device, t.dtype) for t in minuends}) == 1:
        torch._foreach_sub_(minuends, subtrahends)
        return
    for minuend, subtrahend in zip(minuends, subtrahends, strict=True):
        minuend -= subtrahend


def _ratio(moved: Tensor, before: Tensor) -> Tensor:
    # From zero weights, ‖w_after‖ is ‖w_after − w_before‖; and 0 / 0 is 0: nothing moved.
    reference = before.where(before != 0, moved)
    return (moved / reference).where(moved != 0, 0)
