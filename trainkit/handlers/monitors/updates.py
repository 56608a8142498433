"""Updates: how far each step moves the weights, relative to where they were."""

from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from operator import is_not
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from trainkit.handlers.argument_order import writer_first
from trainkit.handlers.monitor import Monitor
from trainkit.handlers.parameters.measurable import Measurable, gradients_of
from trainkit.handlers.parameters.parameter_names import ParameterNames
from trainkit.handlers.parameters.selection import Detail
from trainkit.handlers.parameters.series import write
from trainkit.handlers.parameters.stepped import SteppedParameters
from trainkit.handlers.sampling.cadence import Cadence
from trainkit.handlers.sampling.moment import Moment
from trainkit.handlers.sampling.sampler import Sampler
from trainkit.names import Selection
from trainkit.stats import Snapshot
from trainkit.stats.parameters.update_values import UpdateValues
from trainkit.writers.protocol import Sink, Writer
from trainkit.writers.values import Layout

__all__ = ["UpdateMonitor"]

Numbers = NDArray[Any]

_RATIO = ("updates/global_ratio", "updates/log10_global_ratio")
# Between these log10 of the global ratio usually is; the dashboard shades what lies between, for
# which TensorBoard wants both as series.
_BAND = ("tensors/log10_update_ratio_usual_min", "tensors/log10_update_ratio_usual_max")
_USUAL = (-4.0, -2.0)


class _Moving(NamedTuple):
    """Weights that a step may move, and what they were before it."""

    names: ParameterNames
    weights: Sequence[Tensor]
    before: Snapshot


class UpdateMonitor(Monitor):
    """Writes the size of each optimizer step relative to the weights, measured and not computed.

    ratio = ‖w_after − w_before‖ / ‖w_before‖, whatever the optimizer does (momentum, adaptive
    rates, weight decay, a learning rate per group). Where ‖w_before‖ is 0 it is taken relative to
    ‖w_after‖: 1 if the weights moved at all, 0 if not. Half precision is subtracted in float32.
    Parameters without a gradient in this step (the optimizer does not touch them) or without
    elements are left out. A step that the loss scaler skips is written as skipped, and not as an
    update of 0; where the optimizer itself does the skipping (fused ones), the ratios are NaN.
    What cannot be read, or gets another number of elements within the step, is left out with a
    line in the log, also of the global ratio.

    Tags (with several optimizers `<optimizer>/` comes after the section):
        `updates/global_ratio`, `updates/log10_global_ratio`; `tensors.updates.ratio/<name>`; where
        there is a loss scaler `updates/skipped` (1 or 0). With one optimizer also
        `tensors/log10_update_ratio_usual_min` and `…_max`: -4 and -2, which a chart shades.

    Args:
        writer: Where the statistics go.
        every: How often, in iterations, or a `Sampler` shared with other monitors.
        model: A module, or a mapping from name to module; wrapped and compiled ones too.
        optimizers: An optimizer, or a mapping from name to optimizer.
        scaler: The loss scaler, where the process function does not refer to it and it is not
            `engine.state.scaler`; else it is found, at the latest in its first step that counts.
        detail: `auto` (per parameter up to 300 of them; beyond, per module, with the parameters of
            the largest ratios by name), `global`, `module` or `parameter`.
        include: Only these parameters: a pattern, several, a function of the name, or a mapping
            from model to these; see `names.selected`. The global ratio is of all.
        exclude: None of these.

    Raises:
        TypeError, ValueError: An argument is of the wrong kind or has a wrong value.

    Cost:
        In a sampled iteration those of `stats.Snapshot`: a copy of the parameters, given back after
        the step, and the passes over both.

    Example:
        >>> import torch
        >>> from ignite.engine import Engine
        >>> from trainkit.writers import MemoryWriter
        >>> model, writer = torch.nn.Linear(1, 1, bias=False), MemoryWriter()
        >>> _ = torch.nn.init.constant_(model.weight, 2.0)
        >>> sgd = torch.optim.SGD(model.parameters(), lr=0.5)
        >>> def step(engine: Engine, x: Tensor) -> None:
        ...     model(x).sum().backward()
        ...     sgd.step()
        >>> trainer = Engine(step)
        >>> handle = UpdateMonitor(writer, model=model, optimizers=sgd).attach(trainer)
        >>> _ = trainer.run([torch.ones(1, 1)])
        >>> writer.scalars["tensors.updates.ratio/weight"]
        [(1, 0.25)]
    """

    @writer_first
    def __init__(
        self,
        writer: Writer | Sink,
        every: int | Cadence | Sampler = 1,
        *,
        model: nn.Module | Mapping[str, nn.Module],
        optimizers: Optimizer | Mapping[str, Optimizer],
        scaler: GradScaler | None = None,
        detail: Detail = "auto",
        include: Selection = ("*",),
        exclude: Selection = (),
    ) -> None:
        super().__init__(writer, every, optimizers=optimizers)
        self.parameters = SteppedParameters(
            model, optimizers, self.sampler,
            scaler=scaler, detail=detail, include=include, exclude=exclude,
        )  # fmt: skip
        self._moving: dict[str, _Moving] = {}
        self._measurable = Measurable(type(self).__name__, "parameter")

    def moments(self) -> Mapping[Moment, Callable[..., Any]]:
        """Around the optimizer's step."""
        return {
            Moment.BEFORE_STEP: self.before_step,
            Moment.AFTER_STEP: self.after_step,
            Moment.STEP_SKIPPED: self.skipped,
            Moment.STEP_DROPPED: self.discard,
        }

    def before_step(self, key: str, optimizer: Optimizer, closure: bool) -> None:
        """Copy the weights."""
        known = self.parameters.named(key)
        moving: Sequence[Tensor | None] = known.tensors
        gradients = gradients_of(known.tensors)
        if not all(map(is_not, gradients, repeat(None))):
            # A closure makes the gradients within the step: until then, any of them may move.
            with torch._C.DisableTorchFunctionSubclass():
                moving = [
                    p if gradient is not None or (closure and p.requires_grad) else None
                    for p, gradient in zip(known.tensors, gradients, strict=True)
                ]
        names, weights, before = self._measurable.measure(
            key, known.names, moving, lambda _, some: Snapshot(some)
        )
        if before is not None:
            self._moving[key] = _Moving(names, [*weights], before)

    def after_step(self, key: str, optimizer: Optimizer, closure: bool) -> None:
        """Subtract, and write."""
        if key not in self._moving:
            return
        names, weights, before = self._moving.pop(key)
        try:
            found = before.distances()
        except Exception:  # the step has replaced or resized a tensor
            kept = self._measurable.kept(
                key, names, weights, lambda i: before.part([i]).distances()
            )
            if not 0 < len(kept) < len(names):
                if kept:
                    raise
                return
            names, weights = names.at(kept), [weights[i] for i in kept]
            found = before.part(kept).distances()
        if closure:
            kept = [i for i, g in enumerate(gradients_of(weights)) if g is not None]
            if not kept:
                return
            if len(kept) < len(names):
                names, found = names.at(kept), found[:, kept]
        scaled = self.steps.loss_scale.of(optimizer) is not None
        _, found_inf = self.steps.loss_scale.inside_step(optimizer)
        parts = [found]
        if found_inf is not None:  # the scaler may write into its own
            parts.append(found_inf.detach().reshape(()).clone())
        layouts = names.once((self, key, scaled), lambda: self._layout(key, names, scaled))
        write(self.writer, self.steps.iteration, layouts, *parts)

    def _layout(self, key: str, names: ParameterNames, scaled: bool) -> tuple[Layout, ...]:
        prefix, series = self.parameters.section(key), self.parameters.series[key]
        # The layout of the dashboard shades the band of a single optimizer only.
        band = () if prefix else _BAND
        own = (*(("updates/skipped",) if scaled else ()), *_RATIO, *band)
        one = (1,) * len(names)  # a norm is pooled without weights
        finish = UpdateValues(series.chosen(names, one), scaled, _USUAL if band else ())
        tags = (
            *(self.parameters.tag(tag, key) for tag in own),
            *series.tags("updates", ("ratio",), names, prefix),
        )
        largest = series.largest("updates", "ratio", names, prefix, finish.each)
        return Layout(tags, finish), *largest

    def skipped(self, key: str) -> None:
        """Write that the scaler skipped this optimizer's step."""
        self.writer.write_scalars(
            self.steps.iteration, {self.parameters.tag("updates/skipped", key): 1.0}
        )

    def discard(self, key: str) -> None:
        """Give the copy back."""
        self._moving.pop(key, None)
