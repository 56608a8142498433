"""Which parameters are watched, under which names, and which optimizer moves them."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from operator import is_, itemgetter
from typing import NamedTuple, TypeVar

from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim import Optimizer

__all__ = ["Named", "Parameters", "check_hooks"]

T = TypeVar("T")

_PARAMETERS = itemgetter("params")


class Named(NamedTuple):
    """Parameters of one optimizer (or of none); `section` goes into the tag before the name."""

    section: str
    names: tuple[str, ...]
    tensors: tuple[Tensor, ...]


class Parameters:
    """The parameters of models and optimizers: in each optimizer once, under their first names.

    Names are those of `named_parameters()`, without what wrappers (`DataParallel`,
    `DistributedDataParallel`, `torch.compile`) put in front; in a mapping of models
    `<model>.<name>`, unless the optimizer is called like the model. A parameter that an
    optimizer has and no model is called `<group>.<position>`. Only where there are several
    optimizers do their names go into the tags; a parameter that several hold is in each.

    The model is asked again whenever the optimizers hold other parameters than before, so that
    parameters may come and go.

    Args:
        model: A module, or a mapping from name to module.
        optimizers: An optimizer, or a mapping from name to optimizer; None: there is none.

    Raises:
        TypeError: They are something else.
        ValueError: A mapping is empty.
    """

    def __init__(
        self,
        model: nn.Module | Mapping[str, nn.Module],
        optimizers: Optimizer | Mapping[str, Optimizer] | None,
    ) -> None:
        self.models = _mapping("model", model, nn.Module)
        self.optimizers = (
            {} if optimizers is None else _mapping("optimizers", optimizers, Optimizer)
        )
        # What the optimizers held when the names were made.
        self._held: list[tuple[Optimizer, list[Tensor]]] = []
        self._found: dict[str, Named] = {}
        self._known = False
        self._sections: list[Named] = []

    def section(self, key: str) -> str:
        """What stands before the names of this optimizer's parameters in a tag."""
        return f"{key}/" if len(self.optimizers) > 1 and key else ""

    def of(self, key: str) -> Named:
        """The parameters of one optimizer, by its key; the same object while they are the same."""
        self._refresh()
        return self._found[key]

    def by_section(self) -> list[Named]:
        """Every parameter: those of each section, then those that no optimizer holds.

        With one optimizer (or none) that is one section, whether it holds them or not.
        """
        self._refresh()
        return self._sections

    def _refresh(self) -> None:
        if self._known and self._unchanged():
            return
        names: dict[int, tuple[str, str, Tensor]] = {}
        for model, module in self.models.items():
            for name, parameter in _unwrapped(module).named_parameters():
                # Of a part that was compiled alone the wrapper is in the middle of the name.
                name = name.replace("_orig_mod.", "")
                names.setdefault(id(parameter), (model, name, parameter))
        self._found = {
            key: self._named(key, optimizer, names) for key, optimizer in self.optimizers.items()
        }
        taken = {id(p) for named in self._found.values() for p in named.tensors}
        rest = {
            f"{model}.{name}" if model else name: parameter
            for number, (model, name, parameter) in names.items()
            if number not in taken
        }
        self._sections = self._by_section(Named("", tuple(rest), tuple(rest.values())))
        self._held = [(o, [*_parameters(o)]) for o in self.optimizers.values()]
        self._known = True

    def _unchanged(self) -> bool:
        # Asked several times in every sampled iteration: so few operations, and no comparison of
        # tensors, which would read them.
        for optimizer, before in self._held:
            now = _parameters(optimizer)
            if len(now) != len(before) or not all(map(is_, now, before)):
                return False
        return True

    def _by_section(self, rest: Named) -> list[Named]:
        found = list(self._found.values())
        if len(found) == 1:
            only = found[0]
            return [Named("", only.names + rest.names, only.tensors + rest.tensors)]
        return [*found, rest] if rest.names else found

    def _named(
        self, key: str, optimizer: Optimizer, names: Mapping[int, tuple[str, str, Tensor]]
    ) -> Named:
        mine: dict[str, Tensor] = {}
        for position, parameter in _held_by(optimizer):
            model, name, _ = names.get(id(parameter), ("", position, parameter))
            label = name if model in ("", key) else f"{model}.{name}"
            if mine.setdefault(label, parameter) is not parameter:
                # Rare, and one of them would be lost: `a.b` of one model, and `b` of a model `a`.
                mine[f"{label} ({position})"] = parameter
        return Named(self.section(key), tuple(mine), tuple(mine.values()))


def check_hooks(optimizers: Iterable[Optimizer]) -> None:
    """Refuse what calls itself an optimizer but was never made one: nothing hears of its steps.

    Raises:
        TypeError: There is one.
    """
    for optimizer in optimizers:
        if not hasattr(optimizer, "_optimizer_step_pre_hooks"):
            inside = [k for k, v in vars(optimizer).items() if isinstance(v, Optimizer)]
            raise TypeError(
                f"optimizers must be able to call step hooks, but {type(optimizer).__name__} never "
                "called Optimizer.__init__"
                + (f"; pass the optimizer that it wraps, its .{inside[0]}" if inside else "")
            )


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    groups = optimizer.param_groups
    if len(groups) == 1:
        only: list[Tensor] = groups[0]["params"]
        return only
    return [*chain.from_iterable(map(_PARAMETERS, groups))]


def _held_by(optimizer: Optimizer) -> Iterator[tuple[str, Tensor]]:
    for g, group in enumerate(optimizer.param_groups):
        for i, parameter in enumerate(group["params"]):
            yield f"{group.get('name', g)}.{i}", parameter


def _unwrapped(module: nn.Module) -> nn.Module:
    while True:
        if isinstance(module, DataParallel | DistributedDataParallel):
            module = module.module
        elif isinstance(inner := getattr(module, "_orig_mod", None), nn.Module):
            module = inner  # of torch.compile
        else:
            return module


def _mapping(argument: str, given: T | Mapping[str, T], kind: type[T]) -> dict[str, T]:
    found = {"": given} if isinstance(given, kind) else given
    if not isinstance(found, Mapping) or not all(isinstance(v, kind) for v in found.values()):
        raise TypeError(
            f"{argument} must be one {kind.__name__} or a mapping from name to {kind.__name__}, "
            f"got {given!r:.80}"
        )
    if not found:
        raise ValueError(f"{argument} must hold at least one {kind.__name__}, got {given!r}")
    return dict(found)
