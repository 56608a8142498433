"""The names of the parameters that are in models now."""

from collections.abc import Mapping
from itertools import chain
from operator import attrgetter, is_
from typing import Any
from weakref import WeakValueDictionary

from torch import Tensor, nn

from trainkit.unwrap import unwrapped

__all__ = ["ModelNames", "model_names", "named_parameters"]

_TABLES, _VALUES = attrgetter("_parameters", "_modules"), dict.values
_END = (object(),)
# Modules, from which on looking at them is felt.
_MANY = 1000


class ModelNames:
    """Every parameter of the models, by its id; made anew when it is seen that they have changed.

    Parameters and modules are compared by identity with those of the last time, without a look at
    any tensor: so what was replaced is seen, and what was written to costs nothing. With 10,000
    parameters in 20,000 modules a look takes some milliseconds, a fraction of a walk through their
    names.

    Args:
        models: Name → module; what wraps them (`DataParallel`, `torch.compile`) leaves no trace.
    """

    def __init__(self, models: Mapping[str, nn.Module]) -> None:
        self._models = dict(models)
        #: Grows with each change.
        self.version = 0
        #: Id → name of the model, name of the parameter (its first), the parameter.
        self.named: dict[int, tuple[str, str, Tensor]] = {}
        self._moment: object = None
        self._looked = False
        self._modules: list[nn.Module] = []
        # What the modules hold: parameters and modules; and a mark, so that lengths need no look.
        self._held: list[Any] = []
        self._make()

    def look(self, moment: object = None) -> None:
        """See whether the models have changed.

        Args:
            moment: Of an optimizer's step, where nobody looks twice. Models of many modules are
                not looked at there if they were after the step before: a look is felt.
        """
        if moment is not None:
            if moment == self._moment:
                return
            self._moment = moment
            looked, self._looked = self._looked, False
            if looked and len(self._modules) > _MANY:
                return
        else:
            self._looked = True
        tables = chain.from_iterable(map(_TABLES, self._modules))
        try:
            now = chain(chain.from_iterable(map(_VALUES, tables)), _END)
            same = all(map(is_, now, self._held))
        except TypeError:  # of a scripted module these are no dicts
            same = False
        if not same:
            self._make()

    def _make(self) -> None:
        self.version += 1
        self._modules = [m for module in self._models.values() for m in _modules(module)]
        tables = [table for m in self._modules for table in (m._parameters, m._modules)]
        self._held = [*chain.from_iterable(table.values() for table in tables), *_END]
        named: dict[int, tuple[str, str, Tensor]] = {}
        for model, module in self._models.items():
            for name, parameter in named_parameters(unwrapped(module)):
                # Of a part that was compiled alone the wrapper is in the middle of the name.
                name = name.replace("_orig_mod.", "")
                named.setdefault(id(parameter), (model, name, parameter))
        self.named = named


def named_parameters(module: nn.Module) -> list[tuple[str, Tensor]]:
    """Its parameters by name, by torch's own method where one of somebody's own raises."""
    try:
        return list(module.named_parameters())
    except Exception:
        own = nn.Module.named_modules(module)
        return [
            (".".join(part for part in (path, name) if part), parameter)
            for path, inner in own
            for name, parameter in inner._parameters.items()
            if parameter is not None
        ]


def _modules(module: nn.Module) -> list[nn.Module]:
    try:
        return list(module.modules())
    except Exception:
        return [inner for _, inner in nn.Module.named_modules(module)]


def model_names(models: Mapping[str, nn.Module]) -> ModelNames:
    """The names of these models; the same object for all who ask while anybody has it."""
    key = tuple((name, id(module)) for name, module in models.items())
    found = _shared.get(key)
    if found is None:
        found = _shared[key] = ModelNames(models)
    return found


# As long as one is alive it holds its models, so that no id in its key is another model's.
_shared: "WeakValueDictionary[tuple[tuple[str, int], ...], ModelNames]" = WeakValueDictionary()
