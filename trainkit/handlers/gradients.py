"""Gradients: what the backward pass left, and what the optimizer sees of it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ignite.engine import Engine
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from trainkit.handlers.cadence import Cadence
from trainkit.handlers.optimizer_step import StepMonitor
from trainkit.handlers.sampler import Sampler
from trainkit.handlers.tensor_histograms import TensorHistograms
from trainkit.stats import global_norm, non_finite, norms, summarize
from trainkit.writers.protocol import Writer

__all__ = ["GradientMonitor"]

_COLUMNS = ("norm", "mean", "std", "max_abs", "zero_fraction")

# A norm that got smaller by less than this is rounding (of unscaling, say) and not clipping.
_ROUNDING = 1e-5


class _Raw(NamedTuple):
    """What a backward pass left, still scaled."""

    names: tuple[str, ...]
    norms: Tensor
    non_finite: Tensor | None


class GradientMonitor(StepMonitor):
    """Writes the gradients' norms before and after clipping, and their statistics.

    Raw is the gradient after the last backward pass before the optimizer's step, accumulated and
    divided by the loss scale; all else is what the optimizer sees just before its step, after
    unscaling and clipping. A step counts as clipped where the norm of any parameter's gradient
    became smaller in between. Where a closure makes the gradients within the step, they are those
    of its last call.

    Left out: parameters without a gradient in this step or without elements; of a step that the
    loss scaler skips, all but the raw norm and the non-finite count (that of the raw gradient);
    the raw norm of a gradient that no backward pass was seen to leave (one that was set by hand).

    Tags (with several optimizers `<optimizer>/` comes after the section):
        `gradients/global_norm_raw`, `gradients/global_norm`, `gradients/clipped` (1 or 0),
        `gradients/non_finite` (elements); `gradients.norm/<name>`, `.mean/`, `.std/`,
        `.max_abs/`, `.zero_fraction/`; `gradients.histogram/<name>`.

    Args:
        model: A module, or a mapping from name to module; wrapped and compiled ones too.
        optimizers: An optimizer, or a mapping from name to optimizer.
        writer: Where the statistics go.
        every: How often, in iterations, or a `Sampler` shared with other monitors.
        scaler: The loss scaler, where the process function does not refer to it and it is not
            `engine.state.scaler`; else it is found, at the latest in its first step that counts.
        detail: `auto` (per parameter up to 300 of them; beyond, per module, with the parameters of
            the largest norms by name), `global`, `module` or `parameter`.
        include: Only parameters whose names match one of these patterns; the global values are
            of all.
        exclude: None whose name matches one of these.
        histograms_every: Iterations between histograms: they come with the first sampled step at
            or after each multiple; None writes none.

    Raises:
        TypeError, ValueError: An argument is of the wrong kind or has a wrong value.

    Cost:
        In a sampled iteration one pass over the gradients per backward pass, and those of
        `stats.summarize` at the step; a hook per parameter. Otherwise nothing.

    Example:
        >>> import torch
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
        scaler: GradScaler | None = None,
        detail: str = "auto",
        include: Sequence[str] = ("*",),
        exclude: Sequence[str] = (),
        histograms_every: int | None = None,
    ) -> None:
        super().__init__(
            model, optimizers, writer, every,
            scaler=scaler, detail=detail, include=include, exclude=exclude,
        )  # fmt: skip
        self._histograms = TensorHistograms("gradients", histograms_every)
        self._drawn_next: set[str] = set()
        self._raw: dict[str, _Raw] = {}

    def begin(self, engine: Engine) -> None:
        """Arm for the next step of each optimizer."""
        if self._histograms.due(engine.state.iteration):
            self._drawn_next = set(self.parameters.optimizers)
        super().begin(engine)

    @property
    def watches_backward(self) -> bool:
        """Always: the raw gradient is measured then."""
        return True

    def after_backward(self, key: str, optimizer: Optimizer) -> None:
        """Measure the raw gradient; the last pass before the step is the one that counts."""
        names, gradients = self._gradients(key)
        self.loss_scale.note(optimizer)
        # A step that is skipped may leave nothing to count when that is known.
        bad = non_finite(gradients).sum() if self.loss_scale.known else None
        self._raw[key] = _Raw(names, norms(gradients), bad)

    def before_step(self, key: str, optimizer: Optimizer, closure: bool) -> None:
        """Measure what the optimizer sees, and write."""
        if not closure:
            self._write(key, optimizer)

    def after_step(self, key: str, optimizer: Optimizer, closure: bool) -> None:
        """Measure what a closure left, and write."""
        if closure:
            self._write(key, optimizer)

    def write_skipped(self, key: str) -> None:
        """Write what is known of a step that the scaler skipped."""
        raw = self._raw.get(key)
        if raw is None:
            return
        # It is not finite, which is why the step was skipped: scaled or not is the same.
        found = {"gradients/global_norm_raw": global_norm(raw.norms)}
        if raw.non_finite is not None:
            found["gradients/non_finite"] = raw.non_finite
        self.writer.write_scalars(self.step, {self.tag(t, key): v for t, v in found.items()})

    def discard(self, key: str) -> None:
        """Forget the raw gradient."""
        self._raw.pop(key, None)

    def _gradients(self, key: str) -> tuple[tuple[str, ...], list[Tensor]]:
        found = self.parameters.of(key)
        gradients = [p.grad for p in found.tensors]
        present = [g for g in gradients if g is not None and g.numel()]
        if len(present) == len(gradients):
            return found.names, present
        pairs = zip(found.names, gradients, strict=True)
        return tuple(name for name, g in pairs if g is not None and g.numel()), present

    def _write(self, key: str, optimizer: Optimizer) -> None:
        names, gradients = self._gradients(key)
        if not gradients:
            return
        scale, _ = self.loss_scale.inside_step(optimizer)
        if self.series.chosen(names):
            columns = summarize(gradients)
        else:
            columns = {"norm": norms(gradients), "non_finite": non_finite(gradients)}
        bad = columns.pop("non_finite").sum()
        # No other column depends on the scale but the share of zeros.
        columns = {c: v if c == "zero_fraction" else _divided(v, scale) for c, v in columns.items()}
        found = {"gradients/global_norm": global_norm(columns["norm"]), "gradients/non_finite": bad}
        found |= self._compared(key, optimizer, names, columns["norm"])
        self.writer.write_scalars(self.step, {self.tag(t, key): v for t, v in found.items()})
        prefix = self.parameters.section(key)
        if self.series.chosen(names):
            columns = {column: columns[column] for column in _COLUMNS}
            sizes = [g.numel() for g in gradients]
            series = self.series.scalars("gradients", columns, names, sizes, prefix)
            self.writer.write_scalars(self.step, series)
            worst = self.series.worst("gradients", "norm", columns["norm"], names, prefix)
            if worst is not None:
                self.writer.write_scalars(self.step, worst)
        if key in self._drawn_next:
            self._drawn_next.discard(key)
            if scale is not None:
                gradients = [_divided(g, scale) for g in gradients]
            self._histograms.write(self.writer, self.step, self.series, names, gradients, prefix)

    def _compared(
        self, key: str, optimizer: Optimizer, names: tuple[str, ...], seen: Tensor
    ) -> dict[str, Tensor]:
        """The raw norm, and whether it was clipped since."""
        if key not in self._raw:
            return {}
        raw = _divided(self._raw[key].norms, self.loss_scale.scale(optimizer))
        total = global_norm(raw)
        if self._raw[key].names != names:  # some gradients were taken away in between
            raw, seen = total, global_norm(seen)
        clipped = (seen < raw * (1 - _ROUNDING)).any().to(seen.dtype)
        return {"gradients/global_norm_raw": total, "gradients/clipped": clipped}


def _divided(values: Tensor, scale: Tensor | None) -> Tensor:
    return values if scale is None else values / scale.to(values.device)
