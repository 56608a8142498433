"""The watched parameters, their names, and the optimizer that updates each."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from operator import is_, itemgetter
from typing import NamedTuple, TypeVar
from weakref import WeakMethod

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trainkit.handlers.parameters.model_names import ModelNames, model_names
from trainkit.handlers.parameters.parameter_names import ParameterNames
from trainkit.handlers.say_once import listed

__all__ = ["Named", "Parameters", "check_hooks", "one_or_several"]

T = TypeVar("T")

_PARAMETERS = itemgetter("params")


class Named(NamedTuple):
    """Parameters of one optimizer (or of none); `section` goes into the tag before the name."""

    section: str
    names: ParameterNames
    tensors: tuple[Tensor, ...]


class Parameters:
    """The parameters of models and optimizers: in each optimizer once, under their first names.

    Names are those of `named_parameters()`, without what wrappers (`DataParallel`,
    `DistributedDataParallel`, `torch.compile`) put in front; in a mapping of models
    `<model>.<name>`, unless the optimizer is called like the model. A parameter that an
    optimizer has and no model is called `<group>.<position>`. Only where there are several
    optimizers do their names go into the tags; a parameter that several hold is in each.

    The names are made again whenever an optimizer holds other parameters than before, or `look`
    has seen that a model does. A parameter that was the model's and is no more is shown for the
    optimizer that steps it, and not among the weights.

    Args:
        model: A module, or a mapping from name to module.
        optimizers: An optimizer, or a mapping from name to optimizer; None: there is none.
        say: Receives a line about parameters that no optimizer has, or no model; each once.

    Raises:
        TypeError: They are something else.
        ValueError: A mapping is empty.
    """

    def __init__(
        self,
        model: nn.Module | Mapping[str, nn.Module],
        optimizers: Optimizer | Mapping[str, Optimizer] | None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.models = one_or_several("model", model, nn.Module)
        self.optimizers = (
            {} if optimizers is None else one_or_several("optimizers", optimizers, Optimizer)
        )
        self.say = say
        # Of those that were left out of some optimizer or model, each is said once.
        self._said: set[str] = set()
        self._model_names: ModelNames | None = None
        self._version = 0
        self._named: Mapping[int, tuple[str, str, Tensor]] = {}
        # What the optimizers held when the names were made.
        self._held: list[tuple[Optimizer, list[Tensor]]] = []
        # What was a model's and is an optimizer's still: id → its name, itself.
        self._former: dict[int, tuple[str, Tensor]] = {}
        self._found: dict[str, Named] = {}
        self._sections: list[Named] = []
        # Section → name → full name, where they differ.
        self._full: dict[str, dict[str, str]] = {}

    def section(self, key: str) -> str:
        """What stands before the names of this optimizer's parameters in a tag."""
        return f"{key}/" if len(self.optimizers) > 1 and key else ""

    def namer(self, section: str) -> Callable[[str], str]:
        """`full_name` of a section, as a function that does not keep the models alive.

        What the writer's thread has yet to finish holds it.
        """
        method = WeakMethod(self.full_name)

        def full_name(name: str) -> str:
            found = method()
            return name if found is None else found(section, name)

        return full_name

    def full_name(self, section: str, name: str) -> str:
        """`<model>.<name>` of a parameter in a section, also where the section says the model."""
        return self._full.get(section, {}).get(name, name)

    def look(self, moment: object = None) -> None:
        """See whether the models hold other parameters than before; not twice at one moment."""
        if self._model_names is not None:
            self._model_names.look(moment)

    def of(self, key: str) -> Named:
        """The parameters of one optimizer, by its key; the same object while they are the same."""
        self._refresh()
        return self._found[key]

    def by_section(self) -> list[Named]:
        """Every parameter: those of each section, then those that no optimizer holds.

        With one optimizer (or none) that is one section, whether it holds them or not. Left out is
        what was a model's once and is no more.
        """
        self._refresh()
        return self._sections

    def _refresh(self) -> None:
        names = self._model_names
        if names is None:  # computed on first use: there may be many
            names = self._model_names = model_names(self.models)
        elif not self._unchanged():  # perhaps with parameters that are new in the model too
            names.look()
        elif names.version == self._version:
            return
        before, self._named, self._version = self._named, names.named, names.version
        self._held = [(o, [*_parameters(o)]) for o in self.optimizers.values()]
        held = {id(p): p for _, parameters in self._held for p in parameters}
        former = {number: (_joined(*known[:2]), known[2]) for number, known in before.items()}
        self._former = {
            number: known
            for number, known in (self._former | former).items()
            if number in held and number not in self._named
        }
        self._found = {key: self._of(key, optimizer) for key, optimizer in self.optimizers.items()}
        rest = {
            _joined(model, name): parameter
            for number, (model, name, parameter) in self._named.items()
            if number not in held
        }
        self._sections = self._by_section(
            Named("", ParameterNames(tuple(rest)), tuple(rest.values()))
        )
        if self.optimizers:
            self._tell(rest)

    def _tell(self, rest: Mapping[str, Tensor]) -> None:
        """Say, once each, what no optimizer has, and what no model has."""
        with torch._C.DisableTorchFunctionSubclass():  # some subclasses of Tensor refuse to answer
            idle = self._new(name for name, p in rest.items() if p.requires_grad)
        if idle:
            self.say(
                f"{_several(idle, 'parameter')} of the model {_are(idle)} in no optimizer: "
                f"{listed(idle)}; give them to one if they are to be trained, or freeze them "
                "(requires_grad_(False))"
            )
        gone = self._new(f"{name} " for name, _ in self._former.values())
        if gone:
            self.say(
                f"the optimizer steps {_several(gone, 'parameter')} that {_are(gone)} not in the "
                f"model any more: {listed([*map(str.strip, gone)])}; make the optimizer after the "
                "model's parameters were replaced"
            )
        known = self._named.keys() | self._former.keys()
        alone = self._new(
            f"{found.section}{name}"
            for found in self._found.values()
            for name, p in zip(found.names, found.tensors, strict=True)
            if id(p) not in known
        )
        if alone:
            self.say(
                f"the optimizer steps {_several(alone, 'parameter')} that {_are(alone)} not in the "
                f"model, shown by group and position: {listed(alone)}"
            )

    def _new(self, names: Iterable[str]) -> list[str]:
        found = [name for name in names if name not in self._said]
        self._said.update(found)
        return found

    def _unchanged(self) -> bool:
        # Asked several times in every sampled iteration: so few operations, and no comparison of
        # tensors, which would read them.
        for optimizer, before in self._held:
            now = _parameters(optimizer)
            if len(now) != len(before) or not all(map(is_, now, before)):
                return False
        return True

    def _by_section(self, rest: Named) -> list[Named]:
        found = [self._without_former(named) for named in self._found.values()]
        if len(found) == 1:
            only = found[0]
            return [Named("", ParameterNames(only.names + rest.names), only.tensors + rest.tensors)]
        return [*found, rest] if rest.names else found

    def _without_former(self, named: Named) -> Named:
        if not self._former:
            return named
        kept = {n: p for n, p in zip(*named[1:], strict=True) if id(p) not in self._former}
        return Named(named.section, ParameterNames(tuple(kept)), tuple(kept.values()))

    def _of(self, key: str, optimizer: Optimizer) -> Named:
        mine: dict[str, Tensor] = {}
        for position, parameter in _held_by(optimizer):
            model, name, _ = self._named.get(id(parameter), ("", position, parameter))
            full = _joined(model, name)
            label = name if model == key else full
            if mine.setdefault(label, parameter) is not parameter:
                # Rare, and one of them would be lost: `a.b` of one model, and `b` of a model `a`.
                label = f"{label} ({position})"
                mine[label] = parameter
            if label != full:
                self._full.setdefault(self.section(key), {})[label] = full
        return Named(self.section(key), ParameterNames(tuple(mine)), tuple(mine.values()))


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


def _joined(model: str, name: str) -> str:
    return f"{model}.{name}" if model else name


def _several(names: Sequence[str], thing: str) -> str:
    return f"{len(names)} {thing}" + ("s" if len(names) > 1 else "")


def _are(names: Sequence[str]) -> str:
    return "are" if len(names) > 1 else "is"


def one_or_several(
    argument: str, given: T | Mapping[str, T], kind: type[T], name: str = ""
) -> dict[str, T]:
    """One thing or a mapping of them, as a mapping; one alone is called `name`.

    Raises:
        TypeError: It is neither.
        ValueError: The mapping is empty.
    """
    found = {name: given} if isinstance(given, kind) else given
    if not isinstance(found, Mapping) or not all(isinstance(v, kind) for v in found.values()):
        raise TypeError(
            f"{argument} must be one {kind.__name__} or a mapping from name to {kind.__name__}, "
            f"got {given!r:.80}"
        )
    if not found:
        raise ValueError(f"{argument} must hold at least one {kind.__name__}, got {given!r}")
    return dict(found)
