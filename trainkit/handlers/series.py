"""Statistics of parameters as series of a dashboard: one each, or one per module."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainkit.handlers.naming import CAP, check_detail, module_groups, selected
from trainkit.writers.protocol import Scalars

__all__ = ["Series"]

# Beside the modules, so many parameters are shown by name.
WORST = 5


@dataclass(frozen=True)
class _Choice:
    """What becomes of named tensors; `groups` is empty where each has a series of its own."""

    positions: list[int]
    names: tuple[str, ...]
    labels: tuple[str, ...]
    groups: list[int]


class Series:
    """Chooses, among the statistics of named tensors, those that are written, and their tags.

    With `detail` `parameter` every tensor has a series of its own; with `module` those of a module
    are pooled: norm = sqrt(Σ norm²), mean and zero_fraction weighted by elements, std from the
    pooled variance, max_abs the largest. `auto` is `parameter` while there are no more than 300,
    and `module` at the depth that fits beyond. `global` writes none.

    Args:
        detail: `auto`, `global`, `module` or `parameter`.
        include: Only names that match one of these patterns.
        exclude: None whose name matches one of these.

    Raises:
        TypeError, ValueError: An argument is of the wrong kind, or `detail` is none of these.
    """

    def __init__(
        self, detail: str = "auto", include: Sequence[str] = ("*",), exclude: Sequence[str] = ()
    ) -> None:
        self.detail = check_detail(detail)
        self.include, self.exclude = include, exclude
        selected((), include, exclude)
        # What depends on nothing but names and sizes is worked out once.
        self._known: dict[tuple[Any, ...], Any] = {}

    def chosen(self, names: tuple[str, ...]) -> list[int]:
        """The positions of the names that are watched; none with `detail="global"`."""
        return self._choice(names).positions

    def per_parameter(self, names: tuple[str, ...]) -> bool:
        """Whether the chosen ones among these have a series each."""
        return not self._choice(names).groups

    def scalars(
        self,
        section: str,
        columns: dict[str, Tensor],
        names: tuple[str, ...],
        elements: Sequence[int],
        prefix: str = "",
    ) -> Scalars:
        """The series of the chosen tensors under `<section>.<column>/<prefix><label>`.

        Args:
            section: First part of the tags.
            columns: Statistic → values, shape `[len(names)]`.
            names: Of all the tensors.
            elements: Number of elements of each.
            prefix: What stands before the labels.
        """
        columns = {name: self._rows(values, names) for name, values in columns.items()}
        if not self.per_parameter(names):
            columns = self._pooled(columns, names, tuple(elements))
        tags = self._tags(section, tuple(columns), prefix, self._choice(names).labels)
        return Scalars(tags, torch.cat(list(columns.values())))

    def ratios(self, moved: Tensor, before: Tensor, names: tuple[str, ...], prefix: str) -> Scalars:
        """The update ratios; of modules, the norms are pooled and then divided."""
        found = [self._rows(norm, names) for norm in (moved, before)]
        if not self.per_parameter(names):
            sizes = (1,) * len(names)
            found = [self._pooled({"norm": norm}, names, sizes)["norm"] for norm in found]
        tags = self._tags("updates", ("ratio",), prefix, self._choice(names).labels)
        return Scalars(tags, ratio(*found))

    def worst(
        self, section: str, column: str, values: Tensor, names: tuple[str, ...], prefix: str
    ) -> Scalars | None:
        """Where modules stand for parameters: all of them, of which the largest are to be kept.

        Which those are is seen by whoever reads the values, when they have left the device.
        """
        choice = self._choice(names)
        if not choice.groups:
            return None
        tags = self._tags(section, (column,), prefix, choice.names)
        return Scalars(tags, self._rows(values, names), largest=WORST)

    def _choice(self, names: tuple[str, ...]) -> _Choice:
        found: _Choice = self._once((names,), lambda: self._choose(names))
        return found

    def _choose(self, names: tuple[str, ...]) -> _Choice:
        if self.detail == "global":
            return _Choice([], (), (), [])
        wanted = set(selected(names, self.include, self.exclude))
        positions = [i for i, name in enumerate(names) if name in wanted]
        shown = tuple(names[i] for i in positions)
        if self.detail == "parameter" or (self.detail == "auto" and len(shown) <= CAP):
            return _Choice(positions, shown, shown, [])
        groups = module_groups(shown)
        labels = tuple(dict.fromkeys(groups))
        place = {label: i for i, label in enumerate(labels)}
        return _Choice(positions, shown, labels, [place[group] for group in groups])

    def _rows(self, values: Tensor, names: tuple[str, ...]) -> Tensor:
        positions = self._choice(names).positions
        if len(positions) == len(names):
            return values
        key = ("rows", names, values.device)
        index: Tensor = self._once(key, lambda: torch.tensor(positions, device=values.device))
        return values[index]

    def _tags(
        self, section: str, columns: tuple[str, ...], prefix: str, labels: tuple[str, ...]
    ) -> tuple[str, ...]:
        # The same tuple again and again: whoever reads the tags can tell by its identity.
        tags: tuple[str, ...] = self._once(
            (section, columns, prefix, labels),
            lambda: tuple(f"{section}.{c}/{prefix}{label}" for c in columns for label in labels),
        )
        return tags

    def _pooled(
        self, columns: dict[str, Tensor], names: tuple[str, ...], elements: tuple[int, ...]
    ) -> dict[str, Tensor]:
        choice = self._choice(names)
        device = next(iter(columns.values())).device
        # float64 where the device has it: squares of float32 numbers must not overflow.
        wide = torch.float32 if device.type == "mps" else torch.float64

        def constants() -> tuple[Tensor, Tensor]:
            n = [elements[i] for i in choice.positions]
            return (
                torch.tensor(choice.groups, device=device),
                torch.tensor(n, dtype=wide, device=device),
            )

        index, n = self._once(("groups", names, elements, device), constants)
        return _pooled(columns, index, n, len(choice.labels))

    def _once(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        if key not in self._known:
            if len(self._known) >= 256:  # parameters come and go: do not grow with them
                self._known.clear()
            self._known[key] = make()
        return self._known[key]


def ratio(moved: Tensor, before: Tensor) -> Tensor:
    """‖w_after − w_before‖ / ‖w_before‖, from those norms; 1 for what has left 0, 0 if it stays."""
    # From zero weights, ‖w_after‖ is ‖w_after − w_before‖; and 0 / 0 is 0: nothing moved.
    reference = before.where(before != 0, moved)
    return (moved / reference).where(moved != 0, 0)


def _pooled(columns: dict[str, Tensor], index: Tensor, n: Tensor, groups: int) -> dict[str, Tensor]:
    """The columns of groups from those of their members, `[groups]` each.

    Args:
        columns: Statistic → values of the members.
        index: Group of each member.
        n: Number of elements of each member, above 0.
        groups: Their number.
    """

    def added(values: Tensor) -> Tensor:
        return torch.zeros(groups, dtype=n.dtype, device=n.device).index_add_(0, index, values)

    total = added(n)
    found: dict[str, Tensor] = {}
    for name, column in columns.items():
        values = column.to(n.dtype)
        if name == "norm":
            found[name] = added(values**2).sqrt()
        elif name == "max_abs":
            none = torch.zeros(groups, dtype=n.dtype, device=n.device)
            found[name] = none.scatter_reduce_(0, index, values, "amax")
        elif name == "std":
            means = columns["mean"].to(n.dtype)
            mean = added(n * means) / total
            spread = values**2 + (means - mean[index]) ** 2
            found[name] = (added(n * spread) / total).sqrt()
        else:
            found[name] = added(n * values) / total
    return {name: values.to(columns[name].dtype) for name, values in found.items()}
