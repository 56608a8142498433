"""Gradients: what the backward pass left, and what the optimizer sees of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Engine
from torch import Tensor, nn
from torch.optim import Optimizer

from trainkit.handlers.backward import BackwardEnd
from trainkit.handlers.cadence import Cadence, Every
from trainkit.handlers.optimizer_step import StepMonitor
from trainkit.handlers.sampler import Sampler
from trainkit.stats import global_norm, histograms, norms, summarize
from trainkit.writers.protocol import Histograms, Writer

__all__ = ["GradientMonitor"]

_COLUMNS = ("norm", "mean", "std", "max_abs", "zero_fraction")

# A norm that got smaller by less than this is rounding (of unscaling, say) and not clipping.
_ROUNDING = 1e-5


class GradientMonitor(StepMonitor):
    """Writes the gradients' norms before and after clipping, and their statistics.

    Raw is the gradient after the last backward pass before the optimizer's step, accumulated and
    divided by the loss scale; all else is what the optimizer sees just before its step, after
    unscaling and clipping. A step counts as clipped where the norm of any parameter's gradient
    became smaller in between. Parameters without a gradient in this step are left out. A step
    that the loss scaler skips has a raw norm and a non-finite count (that of the raw gradient),
    and nothing else. A gradient that no backward pass was seen to leave (the step's closure makes
    it, or it was set by hand) has no raw norm.

    Tags (with several optimizers `<optimizer>/` comes after the section):
        `gradients/global_norm_raw`, `gradients/global_norm`, `gradients/clipped` (1 or 0),
        `gradients/non_finite` (elements); `gradients.norm/<name>`, `.mean/`, `.std/`,
        `.max_abs/`, `.zero_fraction/`; `gradients.histogram/<name>`.

    Args:
        model: A module, or a mapping from name to module; wrapped and compiled ones too.
        optimizers: An optimizer, or a mapping from name to optimizer.
        writer: Where the statistics go.
        every: How often, in iterations, or a `Sampler` shared with other monitors.
        scaler: The loss scaler; found by itself where it is `engine.state.scaler`, and else from
            the first step on that is not skipped.
        detail: `auto` (per parameter up to 300 of them, per module beyond), `global`, `module` or
            `parameter`.
        include: Only parameters whose names match one of these patterns; the global values are
            of all.
        exclude: None whose name matches one of these.
        histograms_every: Iterations between histograms; None writes none.

    Raises:
        TypeError, ValueError: An argument is of the wrong kind or has a wrong value.

    Cost:
        In a sampled iteration one pass over the gradients per backward pass, and those of
        `stats.summarize` at the step; a hook per parameter. Otherwise nothing.

    Example:
        >>> from trainkit.writers import MemoryWriter
        >>> model, writer = nn.Linear(1, 1, bias=False), MemoryWriter()
        >>> sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> def step(engine: Engine, x: Tensor) -> None:
        ...     (3 * model(x)).sum().backward()
        ...     _ = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        ...     sgd.step()
        >>> trainer = Engine(step)
        >>> handle = GradientMonitor(model, sgd, writer).attach(trainer)
        >>> _ = trainer.run([torch.ones(1, 1)])
        >>> writer.scalars["gradients/global_norm_raw"], writer.scalars["gradients/clipped"]
        ([(1, 3.0)], [(1, 1.0)])
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
        histograms_every: int | None = None,
    ) -> None:
        super().__init__(
            model, optimizers, writer, every,
            scaler=scaler, detail=detail, include=include, exclude=exclude,
        )  # fmt: skip
        self._histograms = Every(histograms_every) if histograms_every is not None else None
        self._draw = False
        self._passes: dict[str, BackwardEnd] = {}
        self._raw: dict[str, tuple[list[int], Tensor, bool]] = {}

    def begin(self, engine: Engine) -> None:
        """Arm for the next step of each optimizer."""
        self._draw = self._histograms is not None and self._histograms.due(engine.state.iteration)
        for watched in self._passes.values():
            watched.forget()
        super().begin(engine)

    def arm(self, key: str) -> None:
        """Watch for the ends of backward passes."""
        measure = self.guard.wrap(lambda: self._measure_raw(key))
        self._passes[key] = BackwardEnd(self.parameters.of(key).tensors, measure)

    def disarm(self, key: str) -> None:
        """Give the hooks back."""
        watched = self._passes.pop(key, None)
        if watched is not None:
            watched.remove()
        self._raw.pop(key, None)

    def before_step(self, key: str, optimizer: Optimizer) -> None:
        """Measure what the optimizer sees, and write."""
        names, gradients = self._gradients(key)
        if gradients:
            self._write(key, optimizer, names, gradients)

    def after_step(self, key: str, optimizer: Optimizer) -> None:
        """Nothing: gradients are looked at before the step."""

    def skipped(self, key: str) -> bool:
        """Write what is known of a step that the scaler skipped."""
        raw = self._raw.get(key)
        if raw is None:
            return False
        _, gradients = self._gradients(key)
        found = {self.tag("gradients/global_norm_raw", key): global_norm(self._unscaled(raw))}
        if gradients:
            bad = summarize(gradients)["non_finite"].sum()
            found[self.tag("gradients/non_finite", key)] = bad
        assert self._engine is not None  # noqa: S101
        self.writer.write_scalars(self._engine.state.iteration, found)
        return True

    def _gradients(self, key: str) -> tuple[tuple[str, ...], list[Tensor]]:
        found = self.parameters.of(key)
        gradients = [p.grad for p in found.tensors]
        present = [g.detach() for g in gradients if g is not None]
        if len(present) == len(gradients):
            return found.names, present
        names = zip(found.names, gradients, strict=True)
        return tuple(name for name, g in names if g is not None), present

    def _measure_raw(self, key: str) -> None:
        _, gradients = self._gradients(key)
        scale = self.loss_scale.scale()
        found = norms(gradients)
        # The scale changes in place before long: it is taken into account now, if it is known.
        if scale is not None:
            found = found / scale.to(found.device)
        self._raw[key] = (list(map(id, gradients)), found, scale is not None)

    def _unscaled(self, raw: tuple[list[int], Tensor, bool]) -> Tensor:
        _, found, unscaled = raw
        scale = self.loss_scale.scale()
        return found if unscaled or scale is None else found / scale.to(found.device)

    def _write(
        self, key: str, optimizer: Optimizer, names: tuple[str, ...], gradients: list[Tensor]
    ) -> None:
        scale, _ = self.loss_scale.inside_step(optimizer)
        chosen = self.series.chosen(names)
        # One look at all of them serves the global values too.
        columns = summarize(gradients)
        if scale is not None:
            for column in ("norm", "mean", "std", "max_abs"):
                columns[column] = columns[column] / scale.to(columns[column].device)
        seen = columns["norm"]
        found = {
            "gradients/global_norm": global_norm(seen),
            "gradients/non_finite": columns["non_finite"].sum(),
        }
        if key in self._raw:
            raw = self._unscaled(self._raw[key])
            found["gradients/global_norm_raw"] = global_norm(raw)
            if raw.shape != seen.shape:  # some gradients were taken away in between
                raw, seen = global_norm(raw), global_norm(seen)
            found["gradients/clipped"] = (seen < raw * (1 - _ROUNDING)).any().to(seen.dtype)
        self.writer.write_scalars(self.step, {self.tag(t, key): v for t, v in found.items()})
        if not chosen:
            return
        if len(chosen) < len(names):
            index = torch.tensor(chosen, device=seen.device)
            columns = {column: values[index] for column, values in columns.items()}
        gradients = [gradients[i] for i in chosen]
        shown = tuple(names[i] for i in chosen)
        prefix = self.parameters.section(key)
        columns = {column: columns[column] for column in _COLUMNS}
        sizes = [g.numel() for g in gradients]
        self.writer.write_scalars(
            self.step, self.series.scalars("gradients", columns, shown, sizes, prefix)
        )
        if self._draw and self.series.per_parameter(names):
            tags = [f"gradients.histogram/{prefix}{name}" for name in shown]
            table: Any = histograms(gradients)
            self.writer.write_histograms(self.step, Histograms(tags, *table))
