"""Activations: what the modules of a network put out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from ignite.engine import Engine
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from trainkit.handlers.cadence import Cadence
from trainkit.handlers.monitor import Monitor
from trainkit.handlers.naming import CAP, check_detail, selected
from trainkit.handlers.sampler import Sampler
from trainkit.writers.protocol import Scalars, Writer

__all__ = ["ActivationMonitor"]

# Modules whose units can die: 0 for every input, and then no gradient ever again.
_RECTIFIERS = (nn.ReLU, nn.ReLU6, nn.Threshold)

# Modules with bounds, and how near to one an output counts as saturated: a hundredth of the range.
_BOUNDED = {
    nn.Sigmoid: (0.0, 1.0),
    nn.Hardsigmoid: (0.0, 1.0),
    nn.Softmax: (0.0, 1.0),
    nn.Tanh: (-1.0, 1.0),
    nn.Softsign: (-1.0, 1.0),
}
_NEAR = 0.01


@dataclass
class _Sums:
    """Of each call of one module in one iteration; `dead` and `bounded` where they apply.

    `squares` are sums of squared deviations from the mean of the same call.
    """

    counts: list[int] = field(default_factory=list)
    means: list[Tensor] = field(default_factory=list)
    squares: list[Tensor] = field(default_factory=list)
    dead: Tensor | None = None
    bounded: list[Tensor] = field(default_factory=list)

    def mean_and_std(self) -> tuple[Tensor, Tensor]:
        """Over all calls together."""
        if len(self.counts) == 1:
            return self.means[0], (self.squares[0] / self.counts[0]).sqrt()
        means, squares = torch.stack(self.means), torch.stack(self.squares)
        share = torch.tensor(self.counts, dtype=means.dtype).to(means.device) / sum(self.counts)
        mean = (share * means).sum()
        variance = squares.sum() / sum(self.counts) + (share * (means - mean) ** 2).sum()
        return mean, variance.sqrt()


class ActivationMonitor(Monitor):
    """Writes mean and std of module outputs, dead units of rectifiers and saturated outputs.

    mean = Σ y / N; std = sqrt(Σ (y − mean)² / N). dead_fraction: the share of units (channels of a
    convolution, features of a linear layer: dimension 1) that are 0 for the whole batch, behind
    ReLU, ReLU6 and Threshold. saturated_fraction: the share of outputs within 1 % of the range
    from a bound, behind Sigmoid, Hardsigmoid, Tanh, Softsign, Softmax and Hardtanh.

    Only modules without children are watched, in training mode, where gradients are recorded (an
    evaluation in between is not looked at). Several calls of one module in an iteration are taken
    together; of an output with several tensors the first counts. The inside of a module that
    `torch.compile` has compiled is not seen: hooks in it would break its graph for good.

    Tags: `activations.mean/<module>`, `.std/`, `.dead_fraction/`, `.saturated_fraction/`.

    Args:
        model: A module, or a mapping from name to module (names are then `<model>.<module>`).
        writer: Where the statistics go.
        every: How often, in iterations, or a `Sampler` shared with other monitors.
        detail: `global` writes nothing; else every module, up to 300 of them (the outermost
            first, so that what is left out is deepest).
        include: Only modules whose names match one of these patterns.
        exclude: None whose name matches one of these.

    Raises:
        TypeError, ValueError: An argument is of the wrong kind or has a wrong value.

    Cost:
        In a sampled iteration a hook per module and two or three passes over each output.

    Example:
        >>> from trainkit.writers import MemoryWriter
        >>> model, writer = nn.Sequential(nn.ReLU()), MemoryWriter()
        >>> trainer = Engine(lambda engine, x: {"y_pred": model(x.requires_grad_())})
        >>> handle = ActivationMonitor(model, writer).attach(trainer)
        >>> _ = trainer.run([torch.tensor([[-1.0, 4.0], [-2.0, 0.0]])])
        >>> writer.scalars["activations.mean/0"], writer.scalars["activations.dead_fraction/0"]
        ([(1, 1.0)], [(1, 0.5)])
    """

    def __init__(
        self,
        model: nn.Module | Mapping[str, nn.Module],
        writer: Writer,
        every: int | Cadence | Sampler = 1,
        *,
        detail: str = "auto",
        include: Sequence[str] = ("*",),
        exclude: Sequence[str] = (),
    ) -> None:
        super().__init__(writer, every)
        models = {"": model} if isinstance(model, nn.Module) else model
        if not isinstance(models, Mapping) or not all(
            isinstance(m, nn.Module) for m in models.values()
        ):
            raise TypeError(f"model must be a Module or a mapping to Modules, got {model!r:.80}")
        self.models = dict(models)
        self.detail = check_detail(detail)
        self.include, self.exclude = include, exclude
        selected((), include, exclude)
        self._hooks: dict[str, tuple[nn.Module, RemovableHandle]] = {}
        self._heard: set[str] = set()
        self._observing = False
        self._sums: dict[str, _Sums] = {}
        self._tags: tuple[str, ...] = ()

    def begin(self, engine: Engine) -> None:
        """Put a hook on every watched module."""
        self._sums, self._observing = {}, True
        for name, module in self._watched():
            if name in self._hooks and self._hooks[name][0] is not module:
                self._let_go(name)
            if name not in self._hooks:
                hook = module.register_forward_hook(self._hook(name, module))
                self._hooks[name] = module, hook

    def end(self, engine: Engine) -> None:
        """Write what the outputs came to, and take the hooks away."""
        sums, self._sums, self._observing = self._sums, {}, False
        # What was not heard may be compiled: it would be again, if its hooks came and went.
        for name in self._heard:
            self._let_go(name)
        self._heard.clear()
        found: dict[str, Tensor] = {}
        for name, s in sums.items():
            mean, std = s.mean_and_std()
            found[f"activations.mean/{name}"] = mean
            found[f"activations.std/{name}"] = std
            if s.dead is not None:
                found[f"activations.dead_fraction/{name}"] = s.dead.to(mean).mean()
            if s.bounded:
                total = torch.stack(s.bounded).sum(0)
                found[f"activations.saturated_fraction/{name}"] = total / sum(s.counts)
        if found:
            tags = tuple(found)
            self._tags = tags if tags != self._tags else self._tags
            devices = {value.device for value in found.values()}
            if len(devices) == 1:
                values = torch.stack([value.to(torch.float32) for value in found.values()])
                self.writer.write_scalars(engine.state.iteration, Scalars(self._tags, values))
            else:
                self.writer.write_scalars(engine.state.iteration, found)

    def cancel(self) -> None:
        """Take every hook away and forget what was begun; harmless at any time."""
        for name in list(self._hooks):
            self._let_go(name)
        self._heard.clear()
        self._sums, self._observing = {}, False

    def _let_go(self, name: str) -> None:
        _, handle = self._hooks.pop(name, (None, None))
        if handle is not None:
            handle.remove()

    def _hook(self, name: str, module: nn.Module) -> Callable[..., None]:
        observe = self.guard.wrap(self._observer(name, module))

        def hook(*args: Any) -> None:
            if torch.compiler.is_compiling():  # a constant to the compiler: no graph is broken
                return
            if self._observing:
                self._heard.add(name)
                observe(*args)
            else:
                self._let_go(name)

        return hook

    def _watched(self) -> list[tuple[str, nn.Module]]:
        if self.detail == "global":
            return []
        leaves: dict[str, nn.Module] = {}
        for prefix, model in self.models.items():
            for name, module in _leaves(model):
                path = ".".join(part for part in (prefix, name) if part)
                leaves[_unwrapped(path) or type(module).__name__] = module
        chosen = selected(list(leaves), self.include, self.exclude)
        chosen = (
            sorted(chosen, key=lambda name: name.count("."))[:CAP] if len(chosen) > CAP else chosen
        )
        return [(name, leaves[name]) for name in chosen]

    def _observer(self, name: str, module: nn.Module) -> Any:
        bounds = _BOUNDED.get(type(module))
        if isinstance(module, nn.Hardtanh) and not isinstance(module, nn.ReLU6):
            bounds = (float(module.min_val), float(module.max_val))

        def observe(_: nn.Module, inputs: Any, output: Any) -> None:
            y = _first_tensor(output)
            if y is None or not (module.training and torch.is_grad_enabled()) or y.numel() == 0:
                return
            with torch.no_grad():
                self._observe(self._sums.setdefault(name, _Sums()), module, y.detach(), bounds)

        return observe

    def _observe(
        self, sums: _Sums, module: nn.Module, y: Tensor, bounds: tuple[float, float] | None
    ) -> None:
        if y.is_complex():
            y = y.abs()
        wide = y.float() if y.dtype.itemsize < 4 or not y.is_floating_point() else y
        mean = wide.mean()
        sums.counts.append(y.numel())
        sums.means.append(mean)
        sums.squares.append(torch.linalg.vector_norm(wide - mean) ** 2)
        if isinstance(module, _RECTIFIERS) and y.ndim > 1:
            dead = (y == 0).transpose(0, 1).flatten(1).all(1)
            both = sums.dead is not None and sums.dead.shape == dead.shape
            sums.dead = sums.dead & dead if both and sums.dead is not None else dead
        if bounds is not None:
            low, high = bounds
            near = _NEAR * (high - low)
            sums.bounded.append(((wide < low + near) | (wide > high - near)).sum())


def _leaves(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Modules without children, under their first names, but nothing that is known as compiled."""
    compiled: str | None = None
    for name, module in model.named_modules():
        if compiled is not None and f"{name}.".startswith(compiled):
            continue
        if hasattr(module, "_orig_mod") or module._compiled_call_impl is not None:
            compiled = f"{name}." if name else ""
        elif not any(True for _ in module.children()):
            yield name, module


def _first_tensor(output: Any) -> Tensor | None:
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        output = list(output.values())
    if isinstance(output, tuple | list):
        found = (_first_tensor(part) for part in output)
        return next((part for part in found if part is not None), None)
    return None


def _unwrapped(path: str) -> str:
    return ".".join(part for part in path.split(".") if part not in ("module", "_orig_mod"))
