"""Which statistics of parameters are series of a dashboard: one each, or one per module.

The choice is made by names, when training begins; the numbers are chosen and pooled on the host,
by the thread that reads them: see `stats.parameters`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from trainkit.handlers.parameters.parameter_names import ParameterNames
from trainkit.handlers.parameters.selection import CAP, Detail, check_detail, module_groups
from trainkit.handlers.parameters.unmatched import chosen
from trainkit.names import Selection, selected
from trainkit.stats.cpu.sizes import PlainTensors
from trainkit.stats.parameters.chosen import Chosen
from trainkit.writers.protocol import Writer
from trainkit.writers.values import Layout, Scalars

__all__ = ["WORST", "Series", "write"]

Numbers = NDArray[Any]

# Beside the modules, so many parameters are shown by name.
WORST = 5


def write(writer: Writer, step: int, layouts: Sequence[Layout], *parts: Tensor) -> None:
    """Write the same tensors under each of the layouts."""
    for layout in layouts:
        writer.write_scalars(step, Scalars(layout, parts))


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
    are pooled: see `stats.pooling`. `auto` is `parameter` while there are no more than 300,
    and `module` at the depth that fits beyond. `global` writes none.

    Args:
        detail: `auto`, `global`, `module` or `parameter`.
        include: Only these, by their full names: see `names.selected`.
        exclude: None of these.
        full_name: What a name is among all models, where that is more than the name itself.

    Raises:
        TypeError, ValueError: An argument is of the wrong kind, or `detail` is none of these.
    """

    def __init__(
        self,
        detail: Detail = "auto",
        include: Selection = ("*",),
        exclude: Selection = (),
        full_name: Callable[[str], str] | None = None,
    ) -> None:
        self.detail = check_detail(detail)
        self.include, self.exclude = include, exclude
        self.full_name = full_name
        selected((), include, exclude)

    def among(self, full_name: Callable[[str], str]) -> "Series":
        """The same choice, among names that stand for these full ones."""
        return Series(self.detail, self.include, self.exclude, full_name)

    def positions(self, names: ParameterNames) -> list[int]:
        """Of the names that are watched; none with `detail="global"`."""
        return self._choice(names).positions

    def per_parameter(self, names: ParameterNames) -> bool:
        """Whether the chosen ones among these have a series each."""
        return not self._choice(names).groups

    def elements(self, names: ParameterNames, tensors: Sequence[Tensor]) -> tuple[int, ...]:
        """The tensors' numbers of elements where statistics are pooled by them; else empty."""
        if not self._choice(names).groups:
            return ()
        if isinstance(tensors, PlainTensors):
            return tensors.sizes
        return tuple(tensor.numel() for tensor in tensors)

    def chosen(self, names: ParameterNames, elements: Sequence[int] = ()) -> Chosen:
        """What is left to know on the host.

        Args:
            names: Of all the tensors.
            elements: Number of elements of each; looked at where they are pooled.
        """
        choice = self._choice(names)
        return Chosen(choice.positions, choice.groups, len(choice.labels), elements)

    def tags(
        self, section: str, columns: Sequence[str], names: ParameterNames, prefix: str = ""
    ) -> tuple[str, ...]:
        """`tensors.<section>.<column>/<prefix><label>` of all series, column by column."""
        labels = self._choice(names).labels
        return tuple(
            f"tensors.{section}.{column}/{prefix}{label}" for column in columns for label in labels
        )

    def largest(
        self,
        section: str,
        column: str,
        names: ParameterNames,
        prefix: str,
        finish: Callable[..., Numbers],
    ) -> tuple[Layout, ...]:
        """Where parameters are pooled by module, the layout of the largest of them; else none.

        Which are the largest is decided on the host.

        Args:
            section: First part of the tags.
            column: Second part of the tags.
            names: Of all the tensors.
            prefix: Before each name.
            finish: Computes the value of each chosen tensor.
        """
        choice = self._choice(names)
        if not choice.groups:
            return ()
        tags = tuple(f"tensors.{section}.{column}/{prefix}{name}" for name in choice.names)
        return (Layout(tags, finish, largest=WORST),)

    def _choice(self, names: ParameterNames) -> _Choice:
        return names.once(self, lambda: self._choose(names))

    def _choose(self, names: tuple[str, ...]) -> _Choice:
        if self.detail == "global":
            return _Choice([], (), (), [])
        full = names if self.full_name is None else tuple(map(self.full_name, names))
        wanted = set(chosen(full, self.include, self.exclude))
        positions = [i for i, name in enumerate(full) if name in wanted]
        shown = tuple(names[i] for i in positions)
        if self.detail == "parameter" or (self.detail == "auto" and len(shown) <= CAP):
            return _Choice(positions, shown, shown, [])
        groups = module_groups(shown)
        labels = tuple(dict.fromkeys(groups))
        place = {label: i for i, label in enumerate(labels)}
        return _Choice(positions, shown, labels, [place[group] for group in groups])
