"""Numbers in the parameter groups of an optimizer, and which of them have changed."""

from collections.abc import Iterator, Mapping
from itertools import chain
from operator import is_
from typing import Any

import torch
from torch import Tensor

from trainkit.handlers.curves.staircase import Drawn, Staircases
from trainkit.handlers.output.as_step_output import Number, is_number

__all__ = ["GroupValues", "entries", "numbers_in_value"]

_NOT_SHOWN = ("params", "param_names", "name")
_CONSTANT = {float, int, bool, str, type(None)}
_COMPARED = {torch.float32, torch.float64}
_values = dict.values

# Of more groups than this the first and the last are looked at in iterations without a sample.
_MANY = 8

_NOTHING = Drawn()


class GroupValues:
    """The parameter groups of one optimizer as they were last seen, and what is drawn of them.

    Most entries are the very objects that they were at the step before: of those nothing need be
    read. Of tensors on a device nothing is compared but identities: a comparison would read it.

    Args:
        prefix: Of the tags.
        alone: Whether the first group keeps its tags when others join it.
        late: Whether a process function changes them before the step.
    """

    def __init__(self, prefix: str, alone: bool, late: bool = False) -> None:
        self._prefix = prefix
        self._alone = alone
        self._keys: list[str] = []
        self._names: list[str] = []
        self._tags: list[str] = []
        self._values: list[Any] = []
        self._groups = 0
        # Positions of what may change and stay the same object: tensors, and lists.
        self._variable: list[int] = []
        self.stairs = Staircases()
        # Whether a process function changes them before the step; and when it last stepped.
        self.late = late
        self.stepped_at = 0

    def state_dict(self) -> dict[str, Any]:
        """Where each value stands, without the values themselves: they are read again."""
        return {
            "prefix": self._prefix, "alone": self._alone, "late": self.late,
            "stepped_at": self.stepped_at, "stairs": self.stairs.state_dict(),
        }  # fmt: skip

    @classmethod
    def of_state(cls, state_dict: Mapping[str, Any]) -> "GroupValues":
        """One that goes on from there."""
        made = cls(state_dict["prefix"], state_dict["alone"], state_dict["late"])
        made.stepped_at = state_dict["stepped_at"]
        made.stairs.load_state_dict(state_dict["stairs"])
        return made

    def again(self) -> "GroupValues":
        """As it was at the start, but it is known when to look."""
        return GroupValues(self._prefix, self._alone, self.late)

    def read(self, groups: list[dict[str, Any]], iteration: int) -> Drawn:
        """What these groups are in an iteration, from outside of the step."""
        if not (self._variable or self.stairs.fresh or self._moved(groups)):
            self.stairs.last = iteration
            return _NOTHING
        return self.stairs.see(self._news(groups), iteration, self.stairs.last)

    def read_late(self, groups: list[dict[str, Any]], iteration: int) -> Drawn:
        """What they are after the process function, which changes them before the step."""
        if self.stepped_at != iteration:
            return self.read(groups, iteration)
        if self._moved(groups):  # the process function changes them after the step
            self.late = False
        return _NOTHING

    def read_at_step(self, groups: list[dict[str, Any]], iteration: int) -> Drawn:
        """What the step uses in a sampled iteration."""
        found = self._news(groups)
        if found and not self.late and self.stairs.last == iteration:
            self.late = self.stairs.differ(found)  # from what it was before the process function
        self.stepped_at = iteration
        drawn = self.stairs.see(found, iteration, min(self.stairs.last, iteration - 1))
        drawn.join(self.stairs.sample())
        return drawn

    def _moved(self, groups: list[dict[str, Any]]) -> bool:
        """Whether any entry is another object; of many groups two are looked at."""
        if len(groups) == 1:
            values = [*groups[0].values()]
        elif len(groups) <= _MANY:
            values = [*chain.from_iterable(map(_values, groups))]
        else:
            first, last = [*groups[0].values()], [*groups[-1].values()]
            return len(groups) != self._groups or not (
                all(map(is_, first, self._values))
                and all(map(is_, reversed(last), reversed(self._values)))
            )
        return len(values) != len(self._values) or not all(map(is_, values, self._values))

    def _news(self, groups: list[dict[str, Any]]) -> dict[str, Number]:
        """Tag → number, of all entries that may have changed."""
        keys, values = [*chain.from_iterable(groups)], [*chain.from_iterable(map(_values, groups))]
        if keys != self._keys or not all(map(is_, values, self._values)):
            self._groups = len(groups)
            return self._changed(groups, keys, values)
        found: dict[str, Number] = {}
        for i in self._variable:
            found |= numbers_in_value(self._tags[i], values[i])
        return found

    def _changed(
        self, groups: list[dict[str, Any]], keys: list[str], values: list[Any]
    ) -> dict[str, Number]:
        names = [group["name"] for group in groups if "name" in group]
        if keys != self._keys or names != self._names:
            self._keys, self._names = keys, names
            self._tags = list(self._named(groups))
            self._values = [GroupValues] * len(values)  # which is none of them
        found: dict[str, Number] = {}
        self._variable = []
        for i, (tag, value, before) in enumerate(
            zip(self._tags, values, self._values, strict=True)
        ):
            if not tag:
                continue
            if not _is_constant(value):
                self._variable.append(i)
            elif value is before:
                continue
            found |= numbers_in_value(tag, value)
        self._values = values
        return found

    def _named(self, groups: list[dict[str, Any]]) -> Iterator[str]:
        for group, name in zip(groups, _group_names(groups), strict=True):
            between = "" if self._alone and group is groups[0] else f"{name}/"
            for key in group:
                yield "" if key in _NOT_SHOWN else f"{self._prefix}{between}{key}"


def entries(groups: list[dict[str, Any]]) -> list[Any]:
    """The values of all groups, one after the other."""
    return [*chain.from_iterable(map(_values, groups))]


def _is_constant(value: Any) -> bool:
    """Whether it cannot become another number while it stays the same object."""
    kind = type(value)
    return kind in _CONSTANT or (kind is tuple and all(map(_is_constant, value)))


def _group_names(groups: list[dict[str, Any]]) -> list[str]:
    named = [str(group.get("name", i)) for i, group in enumerate(groups)]
    return [f"{n}.{i}" if named.count(n) > 1 else n for i, n in enumerate(named)]


def _in_main_memory(value: Tensor) -> Number:
    """The number itself where no device need be read for it: it can be compared then."""
    if type(value) is Tensor and value.is_cpu and value.dtype in _COMPARED:
        return value.item()
    return value


def numbers_in_value(tag: str, value: Any) -> Iterator[tuple[str, Number]]:
    """Tag and number, of a number, a tensor of one element, or a sequence of such."""
    if isinstance(value, Tensor):
        if value.numel() == 1 and not value.is_complex():
            yield tag, _in_main_memory(value)
    elif isinstance(value, tuple | list):
        for i, part in enumerate(value):
            yield from numbers_in_value(f"{tag}.{i}", part)
    elif is_number(value):
        yield tag, float(value)
