"""The layers of a model: modules that compute, not those that only contain others."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from torch.jit import ScriptModule
from torch.nn.modules import batchnorm, conv

from trainkit.unwrap import unwrapped

__all__ = ["Layer", "bounds_of", "is_compiled", "layers", "modules_of", "units_of"]

# Modules whose units can die: 0 for every input, and then no gradient ever again.
_RECTIFIERS = (nn.ReLU, nn.ReLU6, nn.Threshold)

# Modules with bounded outputs.
_BOUNDED: dict[type[nn.Module], tuple[float, float]] = {
    nn.Sigmoid: (0.0, 1.0),
    nn.Hardsigmoid: (0.0, 1.0),
    nn.Softmax: (0.0, 1.0),
    nn.Tanh: (-1.0, 1.0),
    nn.Softsign: (-1.0, 1.0),
}
# How near to a bound an output counts as saturated: a hundredth of the range.
_NEAR = 0.01

_FEATURES_LAST = (
    nn.Linear, nn.Bilinear, nn.LayerNorm, nn.RMSNorm, nn.Embedding, nn.EmbeddingBag, nn.RNNBase,
)  # fmt: skip
_CHANNELS_SECOND = (batchnorm._BatchNorm, nn.GroupNorm, nn.LocalResponseNorm)
# With n dimensions behind the channels, whether there is one for the batch or not.
_CHANNELS_BEFORE: tuple[tuple[type[nn.Module], ...], ...] = tuple(
    tuple(
        getattr(nn, f"{name}{n}d")
        for name in ("MaxPool", "AvgPool", "AdaptiveMaxPool", "AdaptiveAvgPool", "InstanceNorm")
    )
    for n in (1, 2, 3)
)


@dataclass(eq=False, slots=True)
class Layer:
    """A layer that is watched, or that tells where the units of the next one lie."""

    module: nn.Module
    name: str
    # Its place in the totals; None where it is not watched.
    number: int | None
    units: int | None = field(init=False)
    rectifies: bool = field(init=False)
    bounds: tuple[float, float] | None = field(init=False)
    # The sampled iteration in which it was last taken in, and the rank of the calls that were:
    # first those that record gradients, then those in training mode.
    stamp: int = -1
    rank: int = 0
    # Why its outputs could not be taken in this iteration; whether that was ever told.
    trouble: str | None = None
    told: bool = False

    def __post_init__(self) -> None:
        self.units = units_of(self.module)
        self.rectifies = isinstance(self.module, _RECTIFIERS)
        self.bounds = bounds_of(self.module)


def modules_of(model: nn.Module) -> list[nn.Module]:
    """The modules inside, as far as `layers` looks: while they are the same, so are the layers."""
    found: list[nn.Module] = []
    seen: set[int] = set()
    waiting: list[nn.Module | None] = [model]
    while waiting:
        module = waiting.pop()
        if module is None or id(module) in seen or module._compiled_call_impl is not None:
            continue
        seen.add(id(module))
        found.append(module)
        inside = module._modules
        if inside and not isinstance(module, ScriptModule):
            waiting += inside.values()
    return found


def layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules that have none inside, under their first names, in order.

    A module with parametrized weights is one of them, and what parametrizes them is not. What
    `torch.jit.script` made is one layer. Nothing is seen of what is compiled. `DataParallel` and
    `DistributedDataParallel` leave no trace in the names. Lists of parameters are no modules here:
    nobody calls them.

    Example:
        >>> model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), nn.ReLU())
        >>> [name for name, _ in layers(model)]
        ['0', '1']
    """
    model = unwrapped(model, compiled=False)
    seen: set[int] = set()
    waiting = [("", model)]
    while waiting:
        name, module = waiting.pop()
        if id(module) in seen or is_compiled(module):
            continue
        seen.add(id(module))
        children = _children(module)
        if not children:
            yield name, module
        prefix = f"{name}." if name else ""
        waiting += reversed([(prefix + key, child) for key, child in children])


def _children(module: nn.Module) -> list[tuple[str, nn.Module]]:
    if isinstance(module, ScriptModule):
        return []
    return [
        (key, child)
        for key, child in module._modules.items()
        if child is not None
        and key != "parametrizations"
        and not isinstance(child, nn.ParameterList | nn.ParameterDict)
    ]


def is_compiled(module: nn.Module) -> bool:
    """Whether `torch.compile` has compiled the module, in place or as a wrapper."""
    # `_orig_mod` is what the wrapper that `torch.compile` returns holds.
    return module._compiled_call_impl is not None or "_orig_mod" in module._modules


def units_of(module: nn.Module) -> int | None:
    """Which dimension of its output counts a module's units; None where it has none of its own.

    The last one of linear layers, recurrent ones, embeddings and normalizations over features; of
    convolutions, pools and normalizations over channels the one before those of the image.

    Example:
        >>> units_of(nn.Linear(2, 2)), units_of(nn.Conv2d(1, 1, 1)), units_of(nn.Dropout())
        (-1, -3, None)
    """
    if isinstance(module, _FEATURES_LAST):
        return -1
    if isinstance(module, conv._ConvNd):
        return -1 - len(module.kernel_size)
    if isinstance(module, _CHANNELS_SECOND):
        return 1
    for n, kinds in enumerate(_CHANNELS_BEFORE, start=1):
        if isinstance(module, kinds):
            return -1 - n
    return None


def bounds_of(module: nn.Module) -> tuple[float, float] | None:
    """Outputs outside of these are within 1 % of the range from a bound, or beyond it."""
    found: Any = _BOUNDED.get(type(module))
    if isinstance(module, nn.Hardtanh) and not isinstance(module, nn.ReLU6):
        found = float(module.min_val), float(module.max_val)
    if found is None:
        return None
    low, high = found
    near = _NEAR * (high - low)
    return low + near, high - near
