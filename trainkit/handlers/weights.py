"""Weights: how large they are, and how they are spread."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np
from ignite.engine import Engine
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from trainkit.handlers.cadence import Cadence
from trainkit.handlers.monitor import Monitor
from trainkit.handlers.naming import Subset
from trainkit.handlers.parameters import Named, Parameters
from trainkit.handlers.sampler import Sampler
from trainkit.handlers.series import Layout, Layouts, Series, global_norm
from trainkit.handlers.tensor_histograms import TensorHistograms
from trainkit.stats import COLUMNS, norms, summary_table
from trainkit.writers.protocol import Writer

__all__ = ["WeightMonitor"]

_COLUMNS = COLUMNS[:4]
_USUAL = {nn.Parameter}


class WeightMonitor(Monitor):
    """Writes the weights' norms and statistics, as they are at the end of the iteration.

    Frozen weights are watched too; a tied one once, under its first name; lazy ones from the
    moment they have a size. Those without elements are left out.

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
        histograms_every: Iterations between histograms: they come in the first sampled iteration
            at or after each multiple; None writes none.

    Raises:
        TypeError, ValueError: An argument is of the wrong kind or has a wrong value.

    Cost:
        Those of `stats.summarize`, in a sampled iteration.

    Example:
        >>> import torch
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

    late = True

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
        self._histograms = TensorHistograms("weights", histograms_every)
        self._layouts = Layouts()
        self._subsets: dict[str, Subset] = {}

    def end(self, engine: Engine) -> None:
        """Measure and write."""
        step = engine.state.iteration
        draw = self._histograms.due(step)
        sections = self.parameters.by_section()
        for found in sections:
            # Beside the norms of several optimizers, that of the rest would read as that of all.
            self._write(step, found, bool(found.section) or len(sections) == 1, draw)

    def cancel(self) -> None:
        """Nothing was put in place."""

    def _write(self, step: int, found: Named, total: bool, draw: bool) -> None:
        names, tensors = found.names, found.tensors
        # Lazy ones cannot be asked for their size; most models have none.
        lazy = set(map(type, tensors)) != _USUAL and any(map(is_lazy, tensors))
        if lazy or not all(map(Tensor.numel, tensors)):
            present = [not is_lazy(p) and p.numel() > 0 for p in tensors]
            subset = self._subsets.setdefault(found.section, Subset())
            names, tensors = subset.of(names, present), tuple(compress(tensors, present))
        if not tensors:
            return
        section = found.section
        layout = self._layouts.of(
            (section, total, self.series.elements(names, tensors)),
            (names,),
            lambda: self._layout(section, names, tensors, total),
        )
        if layout.tags:
            table = summary_table(tensors) if layout.finish.columns else norms(tensors)[None]
            layout.write(self.writer, step, table)
        if draw:
            self._histograms.write(self.writer, step, self.series, names, tensors, section)

    def _layout(
        self, section: str, names: tuple[str, ...], tensors: Sequence[Tensor], total: bool
    ) -> Layout:
        series = self.series
        columns = _COLUMNS if series.chosen(names) else ()
        tags = series.tags("weights", columns, names, section)
        if total:
            tags = (f"weights/{section}global_norm", *tags)
        finish = _Statistics(series, columns, names, series.elements(names, tensors), total)
        return Layout(tags, finish, together=series.per_parameter(names))


@dataclass(frozen=True, eq=False)
class _Statistics:
    """What is left to compute when the numbers are on the host."""

    series: Series
    columns: Sequence[str]
    names: tuple[str, ...]
    elements: Sequence[int]
    total: bool

    def __call__(self, table: NDArray[Any]) -> NDArray[Any]:
        """The global norm, where it is written, and the series."""
        shown = table[..., : len(self.columns), :]
        series = self.series.values(self.columns, shown, self.names, self.elements)
        if not self.total:
            return series
        return np.concatenate((global_norm(table[..., 0, :])[..., None], series), axis=-1)
