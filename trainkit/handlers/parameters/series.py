"""Statistics of parameters as series of a dashboard: one each, or one per module.

The choice is made by names, when training begins; the numbers are chosen and pooled when they have
left their device, by the thread that reads them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import is_
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from trainkit.handlers.parameters.selection import CAP, check_detail, module_groups
from trainkit.handlers.parameters.unmatched import chosen
from trainkit.names import Selection, selected
from trainkit.stats.cpu.sizes import PlainTensors
from trainkit.stats.pooling import Members, pooled
from trainkit.writers.protocol import Writer
from trainkit.writers.values import Layout, Scalars

__all__ = ["WORST", "Layouts", "Series", "global_norm", "ratio", "write"]

Numbers = NDArray[Any]

# Beside the modules, so many parameters are shown by name.
WORST = 5


def write(writer: Writer, step: int, layouts: Sequence[Layout], *parts: Tensor) -> None:
    """Write the same tensors under each of the layouts."""
    for layout in layouts:
        writer.write_scalars(step, Scalars(layout, parts))


class Layouts:
    """Layouts that depend on names and little else: each is worked out once."""

    def __init__(self) -> None:
        self._known: dict[Any, tuple[tuple[Any, ...], tuple[Layout, ...]]] = {}

    def of(
        self, key: Any, names: tuple[Any, ...], make: Callable[[], tuple[Layout, ...]]
    ) -> tuple[Layout, ...]:
        """What was made before for this key and these very tuples of names, or what is made now."""
        known = self._known.get(key)
        if known is None or not all(map(is_, known[0], names)):
            if len(self._known) >= 64:  # of sizes and names that change for ever
                self._known.clear()
            self._known[key] = known = names, make()
        return known[1]


@dataclass(frozen=True)
class _Choice:
    """What becomes of named tensors; `groups` is empty where each has a series of its own."""

    positions: list[int]
    names: tuple[str, ...]
    labels: tuple[str, ...]
    groups: list[int]

    def rows(self, values: Numbers) -> Numbers:
        """Of the last dimension, those that were chosen."""
        return values if len(self.positions) == values.shape[-1] else values[..., self.positions]


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
        detail: str = "auto",
        include: Selection = ("*",),
        exclude: Selection = (),
        full_name: Callable[[str], str] | None = None,
    ) -> None:
        self.detail = check_detail(detail)
        self.include, self.exclude = include, exclude
        self.full_name = full_name
        selected((), include, exclude)
        # What depends on nothing but names and sizes is worked out once.
        self._known: dict[tuple[Any, ...], Any] = {}
        self._last: tuple[tuple[str, ...], _Choice] | None = None

    def among(self, full_name: Callable[[str], str]) -> "Series":
        """The same choice, among names that stand for these full ones."""
        return Series(self.detail, self.include, self.exclude, full_name)

    def chosen(self, names: tuple[str, ...]) -> list[int]:
        """The positions of the names that are watched; none with `detail="global"`."""
        return self._choice(names).positions

    def per_parameter(self, names: tuple[str, ...]) -> bool:
        """Whether the chosen ones among these have a series each."""
        return not self._choice(names).groups

    def elements(self, names: tuple[str, ...], tensors: Sequence[Tensor]) -> tuple[int, ...]:
        """The tensors' numbers of elements where statistics are pooled by them; else empty."""
        if not self._choice(names).groups:
            return ()
        if isinstance(tensors, PlainTensors):
            return tensors.sizes
        return tuple(tensor.numel() for tensor in tensors)

    def tags(
        self, section: str, columns: Sequence[str], names: tuple[str, ...], prefix: str = ""
    ) -> tuple[str, ...]:
        """`tensors.<section>.<column>/<prefix><label>` of all series, column by column."""
        labels, columns = self._choice(names).labels, tuple(columns)
        # The same tuple again and again: whoever reads the tags can tell by its identity.
        tags: tuple[str, ...] = self._once(
            (section, columns, prefix, names),
            lambda: tuple(
                f"tensors.{section}.{c}/{prefix}{label}" for c in columns for label in labels
            ),
        )
        return tags

    def values(
        self,
        columns: Sequence[str],
        table: Numbers,
        names: tuple[str, ...],
        elements: Sequence[int],
    ) -> Numbers:
        """The values under `tags`.

        Args:
            columns: The statistics.
            table: Their values, `[S, len(columns), len(names)]`; S, the steps, may be left out.
            names: Of all the tensors.
            elements: Number of elements of each; looked at where they are pooled.
        """
        choice = self._choice(names)
        table = choice.rows(table)
        if choice.groups:
            n = choice.rows(np.asarray(elements))
            found = dict(zip(columns, np.moveaxis(table, -2, 0), strict=True))
            members = Members(found, n, choice.groups, len(choice.labels))
            table = np.stack([*pooled(columns, members).values()], axis=-2)
        return table.reshape(*table.shape[:-2], -1)

    def members(
        self,
        columns: Sequence[str],
        table: Numbers,
        names: tuple[str, ...],
        elements: Sequence[int],
    ) -> Members:
        """The chosen tensors and what each belongs to: the module or itself, as under `tags`.

        Args:
            columns: Of the table.
            table: Their values, `[len(columns), len(names)]`.
            names: Of all the tensors.
            elements: Number of elements of each.
        """
        choice = self._choice(names)
        return Members(
            dict(zip(columns, choice.rows(table), strict=True)),
            choice.rows(np.asarray(elements)),
            choice.groups or range(len(choice.labels)),
            len(choice.labels),
        )

    def ratios(self, moved: Numbers, before: Numbers, names: tuple[str, ...]) -> Numbers:
        """The update ratios; of modules, the norms are pooled and then divided."""
        one = (1,) * len(names)
        return ratio(
            *(self.values(("norm",), x[..., None, :], names, one) for x in (moved, before))
        )

    def largest(
        self,
        section: str,
        column: str,
        names: tuple[str, ...],
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
        tags: tuple[str, ...] = self._once(
            ("worst", section, column, prefix, names),
            lambda: tuple(f"tensors.{section}.{column}/{prefix}{name}" for name in choice.names),
        )
        return (Layout(tags, finish, largest=WORST),)

    def rows(self, values: Numbers, names: tuple[str, ...]) -> Numbers:
        """Those of the chosen tensors."""
        return self._choice(names).rows(values)

    def _choice(self, names: tuple[str, ...]) -> _Choice:
        last = self._last
        if last is None or last[0] is not names:  # hashing thousands of names is felt
            self._last = last = names, self._once((names,), lambda: self._choose(names))
        return last[1]

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

    def _once(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        # Two threads may come at the same time.
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= 256:  # parameters come and go: do not grow with them
                self._known.clear()
            self._known[key] = found = make()
        return found


def global_norm(norms: Numbers) -> Any:
    """The L2 norm over all tensors, sqrt(Σ norm²), from the norms of each, `[..., N]`."""
    return np.sqrt(np.square(norms, dtype=np.float64).sum(-1))


def ratio(moved: Numbers, before: Numbers) -> Numbers:
    """‖w_after − w_before‖ / ‖w_before‖, from those norms; 1 for what has left 0, 0 if it stays."""
    # From zero weights, ‖w_after‖ is ‖w_after − w_before‖; and 0 / 0 is 0: nothing moved.
    reference = np.where(before != 0, before, moved)
    return np.where(moved != 0, moved / reference, 0)
