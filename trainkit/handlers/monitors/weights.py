"""Weights: norms, means, spread and histograms."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from ignite.engine import Engine
from torch import Tensor, nn
from torch.optim import Optimizer

from trainkit.handlers.argument_order import writer_first
from trainkit.handlers.monitor import Monitor
from trainkit.handlers.parameters.held import Named, Parameters
from trainkit.handlers.parameters.histograms import TensorHistograms
from trainkit.handlers.parameters.measurable import Measurable
from trainkit.handlers.parameters.parameter_names import ParameterNames
from trainkit.handlers.parameters.selection import Detail
from trainkit.handlers.parameters.series import Series, write
from trainkit.handlers.parameters.unmatched import check_selection
from trainkit.handlers.sampling.cadence import Cadence
from trainkit.handlers.sampling.moment import Moment
from trainkit.handlers.sampling.sampler import Sampler
from trainkit.handlers.say_once import say_once
from trainkit.names import Selection
from trainkit.stats import COLUMNS, norms, summary_table
from trainkit.stats.parameters.weight_values import NormOfAll, WeightValues
from trainkit.writers.protocol import Sink, Writer
from trainkit.writers.values import Layout

__all__ = ["WeightMonitor"]

_COLUMNS = COLUMNS[:4]


class WeightMonitor(Monitor):
    """Writes the weights' norms and statistics, as they are at the end of the iteration.

    Frozen weights are watched too; a tied one once, under its first name; lazy ones from the
    moment they have a size. Those without elements are left out.

    Left out, with a line in the log, is what cannot be read (on the meta device, spread over
    processes, packed); and with another line what the model does not hold any more. A line says
    which parameters no optimizer holds.

    Tags (with several optimizers `<optimizer>/` comes after the section; `weights/global_norm` is
    then of all parameters, also of those that no optimizer holds):
        `weights/global_norm`; `tensors.weights.norm/<name>`, `.mean/`, `.std/`, `.max_abs/`;
        `tensors.weights.histogram/<name>`.

    Args:
        writer: Where the statistics go.
        every: How often, in iterations, or a `Sampler` shared with other monitors.
        model: A module, or a mapping from name to module; wrapped and compiled ones too.
        optimizers: An optimizer, or a mapping from name to optimizer.
        detail: `auto` (per parameter up to 300 of them, per module beyond), `global`, `module` or
            `parameter`.
        include: Only these parameters: a pattern, several, a function of the name, or a mapping
            from model to these; see `names.selected`. The global norm is of all.
        exclude: None of these.
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
        >>> handle = WeightMonitor(writer, model=model, optimizers=sgd).attach(trainer)
        >>> _ = trainer.run([0])
        >>> writer.scalars["tensors.weights.mean/weight"]
        [(1, 3.0)]
        >>> writer.scalars["tensors.weights.std/weight"]
        [(1, 0.0)]
    """

    @writer_first
    def __init__(
        self,
        writer: Writer | Sink,
        every: int | Cadence | Sampler = 1,
        *,
        model: nn.Module | Mapping[str, nn.Module],
        optimizers: Optimizer | Mapping[str, Optimizer] | None = None,
        detail: Detail = "auto",
        include: Selection = ("*",),
        exclude: Selection = (),
        histograms_every: int | None = None,
    ) -> None:
        super().__init__(writer, every)
        self.parameters = Parameters(model, optimizers, partial(say_once, self.sampler))
        self.series = Series(detail, include, exclude)
        for line in check_selection(self.parameters.models, include, exclude):
            self.parameters.say(line)
        #: By section.
        self._series: dict[str, Series] = {}
        self._histograms = TensorHistograms("weights", histograms_every)
        self._measurable = Measurable(type(self).__name__, "parameter")

    def state_dict(self) -> dict[str, Any]:
        """When there were histograms last."""
        return self._histograms.state_dict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._histograms.load_state_dict(state_dict)

    def moments(self) -> Mapping[Moment, Callable[..., Any]]:
        """At the end of the iteration."""
        return {Moment.ITERATION_COMPLETED: self.end, Moment.NON_FINITE_LOSS: self.end}

    def end(self, engine: Engine) -> None:
        """Measure and write."""
        step = engine.state.iteration
        draw = self._histograms.due(step)
        self.parameters.look()
        sections = self.parameters.by_section()
        written = [self._write(step, found, len(sections), draw) for found in sections]
        if len(sections) > 1:
            self._write_total(step, [part for part in written if part is not None])

    def _write(self, step: int, found: Named, sections: int, draw: bool) -> "_Written | None":
        section = found.section
        series = self._series.get(section)
        if series is None:
            full_name = self.parameters.namer(section)
            series = self._series[section] = self.series.among(full_name)
        names, tensors, table = self._measurable.measure(
            section, found.names, found.tensors, partial(self._measure, series)
        )
        if table is None:
            return None
        total = sections == 1 or bool(section)
        elements = series.elements(names, tensors)
        layouts = names.once(
            (series, total, elements),
            lambda: self._layout(series, section, names, elements, total),
        )
        write(self.writer, step, layouts, table)
        if draw:
            self._histograms.write(self.writer, step, series, names, tensors, section)
        return _Written(names, tensors, table[0])

    def _write_total(self, step: int, written: "list[_Written]") -> None:
        """The norm over all optimizers and the rest; what several of them hold counts once."""
        names = written[0].names
        others = tuple(part.names for part in written[1:])
        layouts = names.once(("all", others), lambda: _layout_of_total(written))
        write(self.writer, step, layouts, *(part.norms for part in written))

    @staticmethod
    def _measure(series: Series, names: ParameterNames, tensors: Sequence[Tensor]) -> Tensor:
        return summary_table(tensors) if series.positions(names) else norms(tensors)[None]

    @staticmethod
    def _layout(
        series: Series,
        section: str,
        names: ParameterNames,
        elements: tuple[int, ...],
        total: bool,
    ) -> tuple[Layout, ...]:
        columns = _COLUMNS if series.positions(names) else ()
        tags = series.tags("weights", columns, names, section)
        if total:
            tags = (f"weights/{section}global_norm", *tags)
        finish = WeightValues(series.chosen(names, elements), columns, total)
        return (Layout(tags, finish),) if tags else ()


class _Written(NamedTuple):
    """What was measured of a section, `norms` on the device."""

    names: ParameterNames
    tensors: Sequence[Tensor]
    norms: Tensor


def _layout_of_total(written: Sequence[_Written]) -> tuple[Layout, ...]:
    seen: set[int] = set()
    kept = []
    for part in written:
        positions = [i for i, tensor in enumerate(part.tensors) if id(tensor) not in seen]
        seen.update(map(id, part.tensors))
        kept.append(positions)
    return (Layout(("weights/global_norm",), NormOfAll(kept)),)
