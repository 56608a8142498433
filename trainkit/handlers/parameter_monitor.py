"""Base class for custom statistics of weights, shown per parameter or per module."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple

import torch
from ignite.engine import Engine
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from trainkit.handlers.monitor import Monitor
from trainkit.handlers.parameters.held import Named, Parameters
from trainkit.handlers.parameters.measurable import Measurable
from trainkit.handlers.parameters.parameter_names import ParameterNames
from trainkit.handlers.parameters.selection import Detail
from trainkit.handlers.parameters.series import Series
from trainkit.handlers.parameters.unmatched import check_selection
from trainkit.handlers.sampling.cadence import When
from trainkit.handlers.sampling.moment import Moment
from trainkit.handlers.sampling.sampler import Sampler
from trainkit.handlers.say_once import say_once
from trainkit.names import Selection
from trainkit.stats.parameters.own_values import OwnValues
from trainkit.stats.pooling import Members, check_poolable, pooled
from trainkit.writers.protocol import Sink, Writer
from trainkit.writers.values import Layout, Scalars

__all__ = ["ParameterMonitor"]


class ParameterMonitor(Monitor):
    """Writes statistics of the weights that a subclass measures, at the end of the iteration.

    A subclass says `columns`, what is written, and has two methods: `measure` takes numbers of
    each tensor, on its device; `pool` makes the columns of them, later and on the host, for each
    module or each parameter. All numbers of an iteration travel to the host together.

    Left out: parameters without elements, lazy ones that have no size yet, and, with one line in
    the log, those for which `measure` raises.

    Tags: `tensors.<section>.<column>/<name>`; with several optimizers `<optimizer>/` comes before
    the name.

    Args:
        writer: Where the statistics go.
        every: How often, in iterations, or a `Sampler` shared with other monitors.
        model: A module, or a mapping from name to module; wrapped and compiled ones too.
        optimizers: An optimizer, or a mapping from name to optimizer: with several, their names go
            into the tags.
        detail: `auto` (per parameter up to 300 of them, per module beyond), `global` (none),
            `module` or `parameter`.
        include: Only these parameters: a pattern, several, a function of the name, or a mapping
            from model to these; see `names.selected`.
        exclude: None of these.

    Raises:
        TypeError, ValueError: An argument is of the wrong kind or has a wrong value, or a column
            has no pooling.

    Cost:
        That of `measure`, in a sampled iteration.

    Example:
        The range of each weight. That of a module is no mean of ranges, so it is said what it is:

        >>> from trainkit.writers import MemoryWriter
        >>> class RangeMonitor(ParameterMonitor):
        ...     columns = ("range",)
        ...     def measure(self, tensors):
        ...         return {
        ...             "low": torch.stack([x.min() for x in tensors]),
        ...             "high": torch.stack([x.max() for x in tensors]),
        ...         }
        ...     def pool(self, members):
        ...         return {"range": members.max(members["high"]) + members.max(-members["low"])}
        >>> model, writer = nn.Linear(2, 1), MemoryWriter()
        >>> model.weight.data, model.bias.data = torch.tensor([[1.0, 3.0]]), torch.tensor([7.0])
        >>> trainer = Engine(lambda engine, batch: None)
        >>> each = RangeMonitor(writer, model=model, detail="parameter").attach(trainer)
        >>> together = RangeMonitor(writer, model=model, detail="module").attach(trainer)
        >>> _ = trainer.run([0])
        >>> writer.scalars["tensors.weights.range/weight"]
        [(1, 2.0)]
        >>> writer.scalars["tensors.weights.range/(model)"]
        [(1, 6.0)]
    """

    #: First part of the tags.
    section: ClassVar[str] = "weights"
    #: The names of what is written.
    columns: ClassVar[Sequence[str]] = ()

    def __init__(
        self,
        writer: Writer | Sink,
        every: "When | Sampler" = 1,
        *,
        model: nn.Module | Mapping[str, nn.Module],
        optimizers: Optimizer | Mapping[str, Optimizer] | None = None,
        detail: Detail = "auto",
        include: Selection = ("*",),
        exclude: Selection = (),
    ) -> None:
        super().__init__(writer, every)
        name = type(self).__name__
        if isinstance(self.columns, str) or not self.columns:
            raise TypeError(
                f"{name}.columns must be the names of what it writes, e.g. ('range',), "
                f"got {self.columns!r}"
            )
        if type(self).pool is ParameterMonitor.pool:
            check_poolable(self.columns)
        self._parameters = Parameters(model, optimizers, partial(say_once, self.sampler))
        for line in check_selection(self._parameters.models, include, exclude):
            self._parameters.say(line)
        self._series = Series(detail, include, exclude)
        self._sections: dict[str, Series] = {}
        self._measurable = Measurable(name, "parameter")

    @abstractmethod
    def measure(self, tensors: Sequence[Tensor]) -> Mapping[str, Tensor]:
        """Numbers of each tensor: name → tensor of shape `[len(tensors)]` on their device.

        Args:
            tensors: Weights on one device, detached; not to be changed. It may be called with one
                alone. Do not read the device here: no `.item()`, no `float()`.
        """

    def pool(self, members: Members) -> Mapping[str, NDArray[Any]]:
        """The columns, of each module, on the host; see `Members`.

        Where parameters have series of their own, each is a module of one member. Without a method
        of one's own the columns are what `measure` returns, pooled as `stats.pooled` does.

        Args:
            members: What `measure` returned.
        """
        return pooled(self.columns, members)

    def moments(self) -> Mapping[Moment, Callable[..., Any]]:
        """At the end of the iteration."""
        return {Moment.ITERATION_COMPLETED: self.end}

    def end(self, engine: Engine) -> None:
        """Measure and write."""
        self._parameters.look()
        for found in self._parameters.by_section():
            self._write(engine.state.iteration, found)

    def _write(self, step: int, found: Named) -> None:
        series = self._series_of(found.section)
        positions = series.positions(found.names)
        names, tensors, parts = self._measurable.measure(
            found.section,
            found.names.at(positions),
            [found.tensors[i] for i in positions],
            lambda _, some: self._measure(some),
        )
        if parts is None:
            return
        elements = tuple(tensor.numel() for tensor in tensors)
        # Of each part: what it measured, and of which tensors.
        measured = tuple((part.columns, part.positions) for part in parts)
        layout = names.once(
            (self, elements, measured),
            lambda: self._layout(series, found.section, names, elements, parts),
        )
        self.writer.write_scalars(step, Scalars(layout, [part.table for part in parts]))

    def _layout(
        self,
        series: Series,
        section: str,
        names: ParameterNames,
        elements: tuple[int, ...],
        parts: "Sequence[_Part]",
    ) -> Layout:
        finish = OwnValues(
            type(self).__name__,
            self.pool,
            tuple(self.columns),
            series.chosen(names, elements),
            parts[0].columns,
            [part.positions for part in parts],
        )
        return Layout(series.tags(self.section, self.columns, names, section), finish)

    def _series_of(self, section: str) -> Series:
        series = self._sections.get(section)
        if series is None:
            series = self._series.among(self._parameters.namer(section))
            self._sections[section] = series
        return series

    def _measure(self, tensors: Sequence[Tensor]) -> "list[_Part]":
        on: dict[torch.device, list[int]] = {}
        for i, tensor in enumerate(tensors):
            on.setdefault(tensor.device, []).append(i)
        with torch.no_grad():
            return [
                _part(self.measure([tensors[i].detach() for i in positions]), tuple(positions))
                for positions in on.values()
            ]


class _Part(NamedTuple):
    """What was measured on one device: `[columns, tensors]`."""

    columns: tuple[str, ...]
    positions: tuple[int, ...]
    table: Tensor


def _part(measured: Mapping[str, Tensor], positions: tuple[int, ...]) -> _Part:
    for name, values in measured.items():
        if not isinstance(values, Tensor) or values.shape != (len(positions),):
            found = values.shape if isinstance(values, Tensor) else type(values).__name__
            raise ValueError(
                f"measure() must return a tensor of one number for each of {len(positions)} "
                f"tensors under {name!r}, got {found}"
            )
    if not measured:
        raise ValueError("measure() must return a mapping from name to tensor, got nothing")
    return _Part(tuple(measured), positions, torch.stack([*measured.values()]))
