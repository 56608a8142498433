"""Weights: how large they are, and how they are spread."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Engine
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from trainkit.handlers.cadence import Cadence, Every
from trainkit.handlers.monitor import Monitor
from trainkit.handlers.parameters import Named, Parameters
from trainkit.handlers.sampler import Sampler
from trainkit.handlers.series import Series
from trainkit.stats import global_norm, histograms, summarize
from trainkit.writers.protocol import Histograms, Writer

__all__ = ["WeightMonitor"]

_COLUMNS = ("norm", "mean", "std", "max_abs")


class WeightMonitor(Monitor):
    """Writes the weights' norms and statistics, as they are at the end of the iteration.

    Frozen weights are watched too; a tied one once, under its first name; lazy ones from the
    moment they have a size.

    Tags (with several optimizers `<optimizer>/` comes after the section):
        `weights/global_norm`; `weights.norm/<name>`, `.mean/`, `.std/`, `.max_abs/`;
        `weights.histogram/<name>`.

    Args:
        model: A module, or a mapping from name to module; wrapped and compiled ones too.
        optimizers: An optimizer, or a mapping from name to optimizer.
        writer: Where the statistics go.
        every: How often, in iterations, or a `Sampler` shared with other monitors.
        detail: `auto` (per parameter up to 300 of them, per module beyond), `global`, `module` or
            `parameter`.
        include: Only parameters whose names match one of these patterns; the global norm is of
            all.
        exclude: None whose name matches one of these.
        histograms_every: Iterations between histograms; None writes none.

    Raises:
        TypeError, ValueError: An argument is of the wrong kind or has a wrong value.

    Cost:
        Those of `stats.summarize`, in a sampled iteration.

    Example:
        >>> from trainkit.writers import MemoryWriter
        >>> model, writer = nn.Linear(2, 1, bias=False), MemoryWriter()
        >>> _ = nn.init.constant_(model.weight, 3.0)
        >>> trainer = Engine(lambda engine, batch: None)
        >>> sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> handle = WeightMonitor(model, sgd, writer).attach(trainer)
        >>> _ = trainer.run([0])
        >>> writer.scalars["weights.mean/weight"], writer.scalars["weights.std/weight"]
        ([(1, 3.0)], [(1, 0.0)])
    """

    def __init__(
        self,
        model: nn.Module | Mapping[str, nn.Module],
        optimizers: Optimizer | Mapping[str, Optimizer] | None,
        writer: Writer,
        every: int | Cadence | Sampler = 1,
        *,
        detail: str = "auto",
        include: Sequence[str] = ("*",),
        exclude: Sequence[str] = (),
        histograms_every: int | None = None,
    ) -> None:
        super().__init__(writer, every)
        self.parameters = Parameters(model, optimizers)
        self.series = Series(detail, include, exclude)
        self._histograms = Every(histograms_every) if histograms_every is not None else None

    def begin(self, engine: Engine) -> None:
        """Nothing: the weights are looked at when the iteration is over."""

    def end(self, engine: Engine) -> None:
        """Measure and write."""
        step = engine.state.iteration
        draw = self._histograms is not None and self._histograms.due(step)
        sections = self.parameters.by_section()
        for found in sections:
            # Beside those of several optimizers, the norm of frozen weights would read as that of all.
            alone = bool(found.section) or len(sections) == 1
            pairs = zip(found.names, found.tensors, strict=True)
            present = [(name, p.detach()) for name, p in pairs if not is_lazy(p)]
            if present:
                names, tensors = zip(*present, strict=True)
                self._write(step, found, names, list(tensors), alone, draw)

    def cancel(self) -> None:
        """Nothing was put in place."""

    def _write(
        self,
        step: int,
        found: Named,
        names: tuple[str, ...],
        tensors: list[Tensor],
        alone: bool,
        draw: bool,
    ) -> None:
        columns = summarize(tensors)
        if alone:
            norm = global_norm(columns["norm"])
            self.writer.write_scalars(step, {f"weights/{found.section}global_norm": norm})
        chosen = self.series.chosen(names)
        if not chosen:
            return
        columns = {column: columns[column] for column in _COLUMNS}
        if len(chosen) < len(names):
            index = torch.tensor(chosen, device=columns["norm"].device)
            columns = {column: values[index] for column, values in columns.items()}
        tensors = [tensors[i] for i in chosen]
        shown = tuple(names[i] for i in chosen)
        sizes = [t.numel() for t in tensors]
        self.writer.write_scalars(
            step, self.series.scalars("weights", columns, shown, sizes, found.section)
        )
        if draw and self.series.per_parameter(names):
            tags = [f"weights.histogram/{found.section}{name}" for name in shown]
            table: Any = histograms(tensors)
            self.writer.write_histograms(step, Histograms(tags, *table))
