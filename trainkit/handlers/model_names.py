"""The names of the parameters that are in models now."""

from collections.abc import Mapping
from itertools import chain
from operator import attrgetter, is_
from typing import Any
from weakref import WeakValueDictionary

from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

__all__ = ["ModelNames", "model_names", "unwrapped"]

_PARAMETERS, _CHILDREN = attrgetter("_parameters"), attrgetter("_modules")


class ModelNames:
    """Every parameter of the models, by its id; made anew when it is seen that they have changed.

    Parameters and modules are compared by identity with those of the last time, without a look at
    any tensor: so what was replaced is seen, and what was written to costs nothing. With 10,000
    parameters in 20,000 modules a look takes 2 ms, a fifth of a walk through their names.

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
        self._modules: list[nn.Module] = []
        self._held: list[list[Any]] | None = None
        self._make()

    def look(self, moment: object = None) -> None:
        """See whether the models have changed; only once at the same moment, where one is given."""
        if moment is None or moment != self._moment:
            self._moment = moment
            held = self._holdings()
            if held is None or self._held is None or not _same(held, self._held):
                self._make()

    def _make(self) -> None:
        self.version += 1
        self._modules = [m for module in self._models.values() for m in module.modules()]
        self._held = self._holdings()
        named: dict[int, tuple[str, str, Tensor]] = {}
        for model, module in self._models.items():
            for name, parameter in unwrapped(module).named_parameters():
                # Of a part that was compiled alone the wrapper is in the middle of the name.
                name = name.replace("_orig_mod.", "")
                named.setdefault(id(parameter), (model, name, parameter))
        self.named = named

    def _holdings(self) -> list[list[Any]] | None:
        try:
            return [
                [*chain.from_iterable(map(dict.values, map(table, self._modules)))]
                for table in (_PARAMETERS, _CHILDREN)
            ]
        except TypeError:  # of a scripted module these are no dicts
            return None


def model_names(models: Mapping[str, nn.Module]) -> ModelNames:
    """The names of these models; the same object for all who ask while anybody has it."""
    key = tuple((name, id(module)) for name, module in models.items())
    found = _shared.get(key)
    if found is None:
        found = _shared[key] = ModelNames(models)
    return found


# As long as one is alive it holds its models, so that no id in its key is another model's.
_shared: "WeakValueDictionary[tuple[tuple[str, int], ...], ModelNames]" = WeakValueDictionary()


def unwrapped(module: nn.Module) -> nn.Module:
    """The module itself, without `DataParallel`, `DistributedDataParallel` or `torch.compile`."""
    while True:
        if isinstance(module, DataParallel | DistributedDataParallel):
            module = module.module
        elif isinstance(inner := getattr(module, "_orig_mod", None), nn.Module):
            module = inner  # of torch.compile
        else:
            return module


def _same(now: list[list[Any]], before: list[list[Any]]) -> bool:
    return all(
        len(some) == len(others) and all(map(is_, some, others))
        for some, others in zip(now, before, strict=True)
    )
