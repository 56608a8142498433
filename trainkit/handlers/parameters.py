"""Which parameters are watched, under which names, and which optimizer moves them."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeVar

from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

__all__ = ["Named", "Parameters"]

# Wrappers put their own attribute in front of the names of what they wrap.
_WRAPPERS = ("module", "_orig_mod")


T = TypeVar("T")


class Named(NamedTuple):
    """Parameters of one optimizer (or of none); `section` goes into the tag before the name."""

    section: str
    names: tuple[str, ...]
    tensors: tuple[Tensor, ...]


class Parameters:
    """The parameters of models and optimizers: each once, under its first name.

    Names are those of `named_parameters()`, without what wrappers (`DataParallel`,
    `DistributedDataParallel`, `torch.compile`) put in front; in a mapping of models
    `<model>.<name>`, unless the optimizer is called like the model. A parameter that an
    optimizer has and no model is called `<group>.<position>`. Only where there are several
    optimizers do their names go into the tags; a parameter that several hold belongs to the first.

    The model is asked again whenever the optimizers hold other parameters than before, so that
    parameters may come and go.

    Args:
        model: A module, or a mapping from name to module.
        optimizers: An optimizer, or a mapping from name to optimizer.

    Raises:
        TypeError: They are something else.
    """

    def __init__(
        self,
        model: nn.Module | Mapping[str, nn.Module],
        optimizers: Optimizer | Mapping[str, Optimizer] | None,
    ) -> None:
        self.models = _mapping("model", model, nn.Module)
        self.optimizers = _mapping("optimizers", optimizers or {}, Optimizer)
        self._held: list[int] = []
        self._found: dict[str, Named] = {}
        self._unheld = Named("", (), ())

    def section(self, key: str) -> str:
        """What stands before the names of this optimizer's parameters in a tag."""
        return f"{key}/" if len(self.optimizers) > 1 and key else ""

    def of(self, key: str) -> Named:
        """The parameters of one optimizer, by its key."""
        self._refresh()
        return self._found[key]

    def by_section(self) -> list[Named]:
        """Every parameter: those of each section, then those that no optimizer holds.

        With one optimizer (or none) that is one section, whether it holds them or not.
        """
        self._refresh()
        found = list(self._found.values())
        rest = self._unheld
        if len(found) == 1:
            only = found[0]
            return [Named("", only.names + rest.names, only.tensors + rest.tensors)]
        return [*found, rest] if rest.names else found

    def _refresh(self) -> None:
        held = [
            id(p) for o in self.optimizers.values() for g in o.param_groups for p in g["params"]
        ]
        if held == self._held and self._found:
            return
        names: dict[int, tuple[str, str, Tensor]] = {}
        for model, module in self.models.items():
            for name, parameter in module.named_parameters():
                names.setdefault(id(parameter), (model, _unwrapped(name), parameter))
        taken: set[int] = set()
        for key, optimizer in self.optimizers.items():
            mine: dict[str, Tensor] = {}
            for position, parameter in _held_by(optimizer):
                if id(parameter) in taken:
                    continue
                taken.add(id(parameter))
                model, name, _ = names.get(id(parameter), ("", position, parameter))
                mine[name if model in ("", key) else f"{model}.{name}"] = parameter
            self._found[key] = Named(self.section(key), tuple(mine), tuple(mine.values()))
        rest = {
            f"{model}.{name}" if model else name: parameter
            for number, (model, name, parameter) in names.items()
            if number not in taken
        }
        self._unheld = Named("", tuple(rest), tuple(rest.values()))
        # A lazy parameter has no size yet: look again next time.
        lazy = any(is_lazy(p) for found in self._found.values() for p in found.tensors)
        self._held = [] if lazy else held


def _held_by(optimizer: Optimizer) -> Iterator[tuple[str, Tensor]]:
    for g, group in enumerate(optimizer.param_groups):
        for i, parameter in enumerate(group["params"]):
            yield f"{group.get('name', g)}.{i}", parameter


def _unwrapped(name: str) -> str:
    first, _, rest = name.partition(".")
    return _unwrapped(rest) if first in _WRAPPERS and rest else name


def _mapping(argument: str, given: T | Mapping[str, T], kind: type[T]) -> dict[str, T]:
    found = {"": given} if isinstance(given, kind) else given
    if not isinstance(found, Mapping) or not all(isinstance(v, kind) for v in found.values()):
        raise TypeError(
            f"{argument} must be one {kind.__name__} or a mapping from name to {kind.__name__}, got "
            f"{given!r:.80}"
        )
    return dict(found)
