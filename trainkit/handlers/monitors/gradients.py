"""Gradients: what the backward pass left, and what the optimizer sees of it."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from trainkit.handlers.argument_order import writer_first
from trainkit.handlers.monitor import Monitor
from trainkit.handlers.parameters.histograms import TensorHistograms
from trainkit.handlers.parameters.measurable import Measurable, gradients_of
from trainkit.handlers.parameters.parameter_names import ParameterNames
from trainkit.handlers.parameters.selection import Detail
from trainkit.handlers.parameters.series import Series, write
from trainkit.handlers.parameters.stepped import SteppedParameters
from trainkit.handlers.sampling.cadence import Cadence
from trainkit.handlers.sampling.moment import Moment
from trainkit.handlers.sampling.sampler import Sampler
from trainkit.names import Selection
from trainkit.stats import COLUMNS, non_finite, norms, summary_table
from trainkit.stats.parameters.gradient_values import (
    GradientValues,
    RawGradients,
    skipped_step,
)
from trainkit.writers.protocol import Sink, Writer
from trainkit.writers.values import Layout, Scalars

__all__ = ["GradientMonitor"]

_GLOBAL = ("gradients/global_norm", "gradients/log10_global_norm", "gradients/non_finite")
_COMPARED = (
    "gradients/global_norm_raw", "gradients/log10_global_norm_raw", "gradients/clipped",
)  # fmt: skip
# Of the tensors with the smallest and the largest norm: one that vanishes, one that explodes.
_EXTREMES = ("tensors/log10_gradient_norm_min", "tensors/log10_gradient_norm_max")
_COLUMNS = COLUMNS[:5]


class _Raw(NamedTuple):
    """What a backward pass left, still scaled."""

    names: ParameterNames
    norms: Tensor
    non_finite: Tensor | None


class GradientMonitor(Monitor):
    """Writes the gradients' norms before and after clipping, and their statistics.

    Raw is the gradient after the last backward pass before the optimizer's step, accumulated and
    divided by the loss scale; all else is what the optimizer sees just before its step, after
    unscaling and clipping. A step counts as clipped where the norm of any parameter's gradient
    became smaller in between. Where the gradients are made within the step (by a closure, or by
    Horovod, which averages them there), they are those that it leaves. What another optimizer's
    own step does to them before `super().step()` is a part of the step, and not seen.

    Left out: parameters without a gradient in this step or without elements; of a step that the
    loss scaler skips, all but the raw norm and the non-finite count (that of the raw gradient);
    the raw norm of a gradient that no backward pass was seen to leave (one that was set by hand).
    A gradient that cannot be read (spread over processes, of a type of its own) is left out with a
    line in the log, also of the global values.

    Tags (with several optimizers `<optimizer>/` comes after the section):
        `gradients/global_norm_raw`, `gradients/global_norm`, and both as `log10_…`;
        `gradients/clipped` (1 or 0), `gradients/non_finite` (elements);
        `tensors/log10_gradient_norm_min`, `…_max` (of the tensors);
        `tensors.gradients.norm/<name>`, `.mean/`, `.std/`, `.max_abs/`, `.zero_fraction/`;
        `tensors.gradients.histogram/<name>`.

    Args:
        writer: Where the statistics go.
        every: How often, in iterations, or a `Sampler` shared with other monitors.
        model: A module, or a mapping from name to module; wrapped and compiled ones too.
        optimizers: An optimizer, or a mapping from name to optimizer.
        scaler: The loss scaler, where the process function does not refer to it and it is not
            `engine.state.scaler`; else it is found, at the latest in its first step that counts.
        detail: `auto` (per parameter up to 300 of them; beyond, per module, with the parameters of
            the largest norms by name), `global`, `module` or `parameter`.
        include: Only these parameters: a pattern, several, a function of the name, or a mapping
            from model to these; see `names.selected`. The global values are of all.
        exclude: None of these.
        histograms_every: Iterations between histograms: they come with the first sampled step at
            or after each multiple; None writes none.

    Raises:
        TypeError, ValueError: An argument is of the wrong kind or has a wrong value.

    Cost:
        In a sampled iteration one pass over the gradients per backward pass, and those of
        `stats.summarize` at the step; a hook per parameter. Otherwise nothing.

    Example:
        >>> import torch
        >>> from ignite.engine import Engine
        >>> from trainkit.writers import MemoryWriter
        >>> model, writer = nn.Linear(1, 1, bias=False), MemoryWriter()
        >>> sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> def step(engine: Engine, x: Tensor) -> None:
        ...     (3 * model(x)).sum().backward()
        ...     _ = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        ...     sgd.step()
        >>> trainer = Engine(step)
        >>> handle = GradientMonitor(writer, model=model, optimizers=sgd).attach(trainer)
        >>> _ = trainer.run([torch.ones(1, 1)])
        >>> writer.scalars["gradients/global_norm_raw"], writer.scalars["gradients/clipped"]
        ([(1, 3.0)], [(1, 1.0)])
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
        histograms_every: int | None = None,
    ) -> None:
        super().__init__(writer, every, optimizers=optimizers)
        self.parameters = SteppedParameters(
            model, optimizers, self.sampler,
            scaler=scaler, detail=detail, include=include, exclude=exclude,
        )  # fmt: skip
        self._histograms = TensorHistograms("gradients", histograms_every)
        self._raw: dict[str, _Raw] = {}
        self._measurable = Measurable(type(self).__name__, "gradient")

    def state_dict(self) -> dict[str, Any]:
        """When there were histograms last."""
        return self._histograms.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._histograms.load_state_dict(state_dict)

    def moments(self) -> Mapping[Moment, Callable[..., Any]]:
        """At the end of a backward pass and around the optimizer's step."""
        return {
            Moment.AFTER_BACKWARD: self.after_backward,
            Moment.BEFORE_STEP: self.before_step,
            Moment.BEFORE_INNER_STEP: self.before_step,
            Moment.AFTER_STEP: self.after_step,
            Moment.STEP_SKIPPED: self.skipped,
            Moment.STEP_DROPPED: self.discard,
        }

    def after_backward(self, key: str, optimizer: Optimizer) -> None:
        """Measure the raw gradient; the last pass before the step is the one that counts."""
        found = self.parameters.named(key)
        gradients = gradients_of(found.tensors)
        names, _, raw = self._measurable.measure(key, found.names, gradients, self._measure_raw)
        if raw is not None:
            self._raw[key] = _Raw(names, *raw)
        else:
            self._raw.pop(key, None)

    def _measure_raw(
        self, names: ParameterNames, gradients: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        # Count now: when a skip is known, the gradients may be gone.
        return norms(gradients), non_finite(gradients) if self.steps.loss_scale.known else None

    def before_step(self, key: str, optimizer: Optimizer, closure: bool) -> None:
        """Measure what the optimizer sees, and write.

        An inner step writes in the place of the outer one, which may have changed the gradients.
        """
        if not closure:
            self._write(key, optimizer)

    def after_step(self, key: str, optimizer: Optimizer, closure: bool) -> None:
        """Measure what a closure left, and write."""
        if closure:
            self._write(key, optimizer)

    def skipped(self, key: str) -> None:
        """Write what is known of a step that the scaler skipped."""
        raw = self._raw.get(key)
        if raw is None:
            return
        # It is not finite, which is why the step was skipped: scaled or not is the same.
        tags, parts = ["gradients/global_norm_raw"], [raw.norms]
        if raw.non_finite is not None:
            tags.append("gradients/non_finite")
            parts.append(raw.non_finite)
        tags = [self.parameters.tag(tag, key) for tag in tags]
        self.writer.write_scalars(self.steps.iteration, Scalars(tags, parts, finish=skipped_step))

    def discard(self, key: str) -> None:
        """Forget the raw gradient."""
        self._raw.pop(key, None)

    def _write(self, key: str, optimizer: Optimizer) -> None:
        known = self.parameters.of(key)
        names, gradients, table = self._measurable.measure(
            key,
            known.names,
            gradients_of(known.tensors),
            partial(self._measure, self.parameters.series[key]),
        )
        if table is None:
            return
        raw = self._raw.get(key)
        scales = [self.steps.loss_scale.inside_step(optimizer)[0]]
        if raw is not None:
            scales.append(self.steps.loss_scale.scale(optimizer))
        scaled = tuple(scale is not None for scale in scales)
        series, raw_names = self.parameters.series[key], None if raw is None else raw.names
        elements = series.elements(names, gradients)
        layouts = names.once(
            (self, key, scaled, elements, raw_names if raw_names != names else ()),
            lambda: self._layout(key, names, elements, raw_names, scaled),
        )
        parts = [table]
        if raw is not None:
            parts.append(raw.norms)
        # The scaler will write into its own.
        parts += [scale.detach().reshape(()).clone() for scale in scales if scale is not None]
        write(self.writer, self.steps.iteration, layouts, *parts)
        if self._histograms.due(self.steps.sampled, key):
            if scales[0] is not None:
                gradients = [g / scales[0].to(g.device) for g in gradients]
            prefix = self.parameters.section(key)
            self._histograms.write(
                self.writer,
                self.steps.iteration,
                self.parameters.series[key],
                names,
                gradients,
                prefix,
            )

    @staticmethod
    def _measure(series: Series, names: ParameterNames, gradients: Sequence[Tensor]) -> Tensor:
        return summary_table(gradients) if series.positions(names) else _norms_only(gradients)

    def _layout(
        self,
        key: str,
        names: ParameterNames,
        elements: tuple[int, ...],
        raw: ParameterNames | None,
        scaled: Sequence[bool],
    ) -> tuple[Layout, ...]:
        prefix, series = self.parameters.section(key), self.parameters.series[key]
        columns = _COLUMNS if series.positions(names) else ()
        own = [*_GLOBAL, *_EXTREMES, *(() if raw is None else _COMPARED)]
        compared = None if raw is None else _compared(raw, names, scaled[1])
        finish = GradientValues(series.chosen(names, elements), columns, scaled[0], compared)
        tags = (
            *(self.parameters.tag(tag, key) for tag in own),
            *series.tags("gradients", columns, names, prefix),
        )
        largest = series.largest("gradients", "norm", names, prefix, finish.norms)
        return Layout(tags, finish), *largest


def _compared(raw: ParameterNames, seen: ParameterNames, scaled: bool) -> RawGradients:
    """Compare all, or those in both where gradients came or went in between."""
    if raw == seen:
        return RawGradients(None, None, scaled)
    both = set(raw).intersection(seen)
    here, there = ([i for i, name in enumerate(some) if name in both] for some in (raw, seen))
    return RawGradients(here, there, scaled)


def _norms_only(gradients: Sequence[Tensor]) -> Tensor:
    found = norms(gradients)
    return torch.stack((found, non_finite(gradients).to(found.dtype)))
