"""Activations: the outputs of the modules of a network."""

import logging
from collections.abc import Callable, Mapping, Sequence
from operator import is_
from typing import Any

import torch
from ignite.engine import Engine
from torch import Tensor, nn

from trainkit.handlers.argument_order import writer_first
from trainkit.handlers.modules.forward_calls import ForwardCalls, calls_compiled, compiler_in_use
from trainkit.handlers.modules.leaf_layers import Layer, is_compiled, layers, modules_of
from trainkit.handlers.modules.module_output import first_tensor
from trainkit.handlers.monitor import Monitor
from trainkit.handlers.parameters.held import one_or_several
from trainkit.handlers.parameters.selection import CAP, Detail, check_detail
from trainkit.handlers.parameters.unmatched import check_selection, chosen
from trainkit.handlers.sampling.around import process_function
from trainkit.handlers.sampling.cadence import Cadence
from trainkit.handlers.sampling.moment import Moment
from trainkit.handlers.sampling.sampler import Sampler
from trainkit.handlers.say_once import listed, say_once
from trainkit.names import Selection
from trainkit.stats.outputs.activations import OutputStatistics, OutputTotals
from trainkit.stats.outputs.largest import WithLargest
from trainkit.stats.tensors.readable import UnreadableError
from trainkit.writers.protocol import Scalars, Sink, Writer

__all__ = ["ActivationMonitor"]

_log = logging.getLogger("trainkit")

_STATISTICS = ("mean", "std", "dead_fraction", "saturated_fraction")
# Of the statistics of this number, the largest of all modules is written under this tag.
_LARGEST = {2: "tensors/dead_fraction_max", 3: "tensors/saturated_fraction_max"}


class ActivationMonitor(Monitor):
    """Writes mean and std of module outputs, dead units of rectifiers and saturated outputs.

    mean = Σ y / N; std = sqrt(Σ (y − mean)² / N). dead_fraction: the share of units that are 0 for
    the whole batch, behind ReLU, ReLU6 and Threshold. saturated_fraction: the share of outputs
    within 1 % of the range from a bound, behind Sigmoid, Hardsigmoid, Tanh, Softsign, Softmax and
    Hardtanh.

    The units of a rectifier are those of the module with units that was called last before it and
    put out the same shape: channels behind convolutions, pools and normalizations over channels,
    features (the last dimension) behind linear and recurrent layers, embeddings and LayerNorm.
    Where there was none: dimension 1 of images (four dimensions or more), else the last.

    Watched are the modules without children (and those whose weights are parametrized), in the
    trainer's own process function: no evaluation of an evaluator is looked at. Of the calls of a
    module in one iteration those count that record gradients, and of these those in training mode,
    if there are any; so a frozen backbone is shown, and an evaluation within the step is not mixed
    in. What counts is taken together. Of an output with several tensors the first counts. A module
    under two names has the first. What gradient checkpointing computes again is not counted again.

    The inside of a module that `torch.compile` has compiled is not seen, nor are modules in other
    threads. A module whose outputs nobody can read (within vmap, on the meta device) is left out,
    with a line in the log.

    Tags: `tensors.activations.mean/<module>`, `.std/`, `.dead_fraction/`, `.saturated_fraction/`;
    the largest of all modules as `tensors/dead_fraction_max` and `tensors/saturated_fraction_max`.

    Args:
        writer: Where the statistics go.
        every: How often, in iterations, or a `Sampler` shared with other monitors.
        model: A module, or a mapping from name to module (names are then `<model>.<module>`).
        detail: `global` writes nothing; else every module, up to 300 of them (the outermost
            first, so that what is left out is deepest).
        include: Only these modules: a pattern (`encoder` is all of the encoder), several, a
            function of the name, or a mapping from model to these; see `names.selected`.
        exclude: None of these.

    Raises:
        TypeError, ValueError: An argument is of the wrong kind or has a wrong value.

    Cost:
        In a sampled iteration one pass over each output in main memory, and three microseconds for
        each call of a module; on a device two to six launches for each call.

    Example:
        >>> from trainkit.writers import MemoryWriter
        >>> model, writer = nn.Sequential(nn.ReLU()), MemoryWriter()
        >>> trainer = Engine(lambda engine, x: {"y_pred": model(x)})
        >>> handle = ActivationMonitor(writer, model=model).attach(trainer)
        >>> _ = trainer.run([torch.tensor([[-1.0, 4.0], [-2.0, 0.0]])])
        >>> writer.scalars["tensors.activations.mean/0"]
        [(1, 1.0)]
        >>> writer.scalars["tensors.activations.dead_fraction/0"]
        [(1, 0.5)]
    """

    @writer_first
    def __init__(
        self,
        writer: Writer | Sink,
        every: int | Cadence | Sampler = 1,
        *,
        model: nn.Module | Mapping[str, nn.Module],
        detail: Detail = "auto",
        include: Selection = ("*",),
        exclude: Selection = (),
    ) -> None:
        super().__init__(writer, every)
        self.models = one_or_several("model", model, nn.Module)
        self.detail = check_detail(detail)
        self.include, self.exclude = include, exclude
        for line in check_selection(self.models, include, exclude):
            say_once(self.sampler, line)
        self._calls = ForwardCalls(self._hear)
        # What was worked out for the modules that the models consisted of when last looked at.
        self._modules: list[nn.Module] = []
        self._layers: dict[int, Layer] = {}
        self._names: list[str] = []
        self._totals = OutputTotals(0)
        self._tags: dict[Any, tuple[tuple[str, ...], WithLargest]] = {}
        # Which sampled iteration it is, where the units lay last, and of which shape that was.
        self._stamp = 0
        self._units: int | None = None
        self._shape: Sequence[int] = ()
        self._observe_guarded: Any = None
        # Whether anything was compiled in this process when a sampled iteration began last.
        self._compiles = False
        # Whether modules are heard in this iteration, and whether any was.
        self._open = self._heard = False
        self._told_of_silence = False

    def moments(self) -> Mapping[Moment, Callable[..., Any]]:
        """Before and after the process function, and at the end of the iteration."""
        return {
            Moment.ITERATION_STARTED: self.begin,
            Moment.PROCESS_LEFT: self.release,
            Moment.ITERATION_COMPLETED: self.end,
            Moment.CANCELLED: self.cancel,
        }

    def begin(self, engine: Engine) -> None:
        """Hear the modules' calls from now on."""
        if self.detail == "global":
            return
        self._look()
        self._stamp += 1
        self._shape, self._open, self._heard = (), False, False
        self._observe_guarded = self.guard.wrap(self._observe)
        # What is compiled now is compiled without hooks in it: they would mean another compilation.
        compiles = compiler_in_use()
        postponed = (
            compiles
            and not self._compiles
            and (self._stamp > 1 or calls_compiled(process_function(engine)))
        )
        self._compiles = compiles
        if any(map(is_compiled, self.models.values())):
            say_once(self.sampler, _COMPILED)
        if self._names and not postponed:
            self._open = True
            self._calls.open(layer.module for layer in self._layers.values())

    def release(self) -> None:
        """Hear no more."""
        self._calls.close()

    def end(self, engine: Engine) -> None:
        """Write what the outputs came to."""
        self._calls.close()
        statistics = self._totals.take()
        for found in statistics:
            tags, finish = self._tags_of(found)
            scalars = Scalars(tags, found.parts, finish=finish)
            self.writer.write_scalars(engine.state.iteration, scalars)
        self._tell_of_trouble()
        if self._open and not self._heard and not self._told_of_silence:
            self._told_of_silence = True
            _log.warning("no activations in iteration %d: %s", engine.state.iteration, _SILENCE)

    def cancel(self) -> None:
        """Hear no more and forget what was begun; harmless at any time."""
        self._calls.close()
        self._totals.take()

    def _look(self) -> None:
        """See whether modules were replaced, or compiled, since the last time."""
        modules = [module for model in self.models.values() for module in modules_of(model)]
        if len(modules) == len(self._modules) and all(map(is_, modules, self._modules)):
            return
        found: dict[str, nn.Module] = {}
        for prefix, model in self.models.items():
            for name, module in layers(model):
                path = ".".join(part for part in (prefix, name) if part)
                found[path or type(module).__name__] = module
        names = chosen(list(found), self.include, self.exclude)
        if len(names) > CAP:
            names = sorted(names, key=lambda name: name.count("."))[:CAP]
        told = {layer.name for layer in self._layers.values() if layer.told}
        numbers = {name: number for number, name in enumerate(names)}
        self._layers = {}
        for name, module in found.items():
            layer = Layer(module, name, numbers.get(name), told=name in told)
            known = self._layers.get(id(module))  # the module is also in another model
            if layer.number is not None and (known is None or known.number is None):
                self._layers[id(module)] = layer
            elif layer.units is not None:
                self._layers.setdefault(id(module), layer)
        self._modules, self._names = modules, names
        self._totals, self._tags = OutputTotals(len(names)), {}

    def _hear(self, module: nn.Module, output: Any) -> None:
        layer = self._layers.get(id(module))
        if layer is not None:
            self._heard = True
            self._observe_guarded(layer, output)

    def _observe(self, layer: Layer, output: Any) -> None:
        try:
            y = output if isinstance(output, Tensor) else first_tensor(output)
            if y is None:
                layer.trouble = f"is a {type(output).__name__}, in which no tensor is found"
                return
            if layer.units is not None and not y.is_nested:
                self._units, self._shape = layer.units, y.shape
            if layer.number is not None:
                self._take_in(layer, layer.number, y)
        except UnreadableError as error:
            layer.trouble = str(error)
        except Exception as error:  # any fault costs only this module
            layer.trouble = f"cannot be measured: {error!r}"

    def _take_in(self, layer: Layer, number: int, y: Tensor) -> None:
        rank = 2 * torch.is_grad_enabled() + layer.module.training
        fresh = layer.stamp != self._stamp
        if not fresh:
            if rank < layer.rank:
                return
            fresh = rank > layer.rank
        axis = self._axis(y.shape) if layer.rectifies and not y.is_nested else None
        self._totals.add(number, y, axis, layer.bounds, fresh=fresh)
        layer.stamp, layer.rank = self._stamp, rank

    def _axis(self, shape: Sequence[int]) -> int | None:
        """The dimension of the units of a rectifier that puts out this shape."""
        n = len(shape)
        if n < 2:
            return None
        units = self._units if self._shape == shape else None
        if units is None or not -n <= units < n:
            units = 1 if n >= 4 else -1
        return units % n

    def _tags_of(self, found: OutputStatistics) -> tuple[tuple[str, ...], WithLargest]:
        known = self._tags.get(found.keys)
        if known is None:
            if len(self._tags) >= 64:  # random branches make ever new sets of modules
                self._tags.clear()
            finish = WithLargest(
                found.finish,
                tuple(
                    places
                    for kind in _LARGEST
                    if (places := [i for i, (_, which) in enumerate(found.keys) if which == kind])
                ),
            )
            largest = [tag for kind, tag in _LARGEST.items() if kind in {k for _, k in found.keys}]
            tags = (
                f"tensors.activations.{_STATISTICS[which]}/{self._names[module]}"
                for module, which in found.keys
            )
            known = self._tags[found.keys] = (*tags, *largest), finish
        return known

    def _tell_of_trouble(self) -> None:
        """One line for the modules of which this iteration took nothing, if that is new."""
        reasons: dict[str, list[str]] = {}
        for layer in self._layers.values():
            trouble, layer.trouble = layer.trouble, None
            if trouble is not None and layer.stamp != self._stamp and not layer.told:
                layer.told = True
                reasons.setdefault(trouble, []).append(layer.name)
        for trouble, names in reasons.items():
            _log.warning(
                "no activations of %s, whose output %s; the other modules go on "
                "(to hear no more of it: exclude=%r)",
                listed(names), trouble, names[:5],
            )  # fmt: skip


_COMPILED = (
    "no activations of a model that torch.compile has compiled as a whole: its modules are not "
    "called one by one (compile parts of it, or run an experiment uncompiled)"
)
_SILENCE = (
    "none of the watched modules was called from Python in the process function's own thread (is "
    "the model compiled by torch.compile, replicated by DataParallel, or another one?)"
)
