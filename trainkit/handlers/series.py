"""Statistics of parameters as series of a dashboard: one each, or one per module."""

from collections.abc import Sequence

import torch
from torch import Tensor

from trainkit.handlers.naming import CAP, check_detail, module_groups, selected
from trainkit.writers.protocol import Scalars

__all__ = ["Series"]


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
        self._chosen: dict[tuple[str, ...], tuple[list[int], list[str]]] = {}
        self._tags: dict[tuple[str, tuple[str, ...], str, tuple[str, ...]], tuple[str, ...]] = {}
        self._indices: dict[tuple[tuple[str, ...], torch.device], Tensor] = {}

    def chosen(self, names: tuple[str, ...]) -> list[int]:
        """The positions of the names that are watched; none with `detail="global"`."""
        return self._choice(names)[0]

    def per_parameter(self, names: tuple[str, ...]) -> bool:
        """Whether the chosen ones among these have a series each."""
        return not self._choice(names)[1]

    def scalars(
        self,
        section: str,
        columns: dict[str, Tensor],
        names: tuple[str, ...],
        elements: Sequence[int],
        prefix: str = "",
    ) -> Scalars:
        """The series of chosen tensors under `<section>.<column>/<prefix><name>`.

        Args:
            section: First part of the tags.
            columns: Statistic → values, shape `[len(names)]`.
            names: Of the chosen tensors.
            elements: Number of elements of each.
            prefix: What stands before the names.
        """
        groups = self._choice(names)[1]
        labels = tuple(dict.fromkeys(groups)) if groups else names
        if groups:
            columns = _pooled(columns, self._index(groups, labels, columns), elements, len(labels))
        tags = self._tagged(section, tuple(columns), prefix, labels)
        return Scalars(tags, torch.cat(list(columns.values())))

    def ratios(self, moved: Tensor, before: Tensor, names: tuple[str, ...], prefix: str) -> Scalars:
        """The update ratios of modules: the norms are pooled, and then divided."""
        size = [1] * len(names)
        parts = [self.scalars("updates", {"norm": norm}, names, size) for norm in (moved, before)]
        moved, before = (part.values_tensor for part in parts)
        ratio = (moved / before.where(before != 0, moved)).where(moved != 0, 0)
        labels = tuple(dict.fromkeys(self._choice(names)[1]))
        return Scalars(self._tagged("updates", ("ratio",), prefix, labels), ratio)

    def _choice(self, names: tuple[str, ...]) -> tuple[list[int], list[str]]:
        found = self._chosen.get(names)
        if found is None:
            wanted = set(selected(names, self.include, self.exclude))
            positions = [i for i, name in enumerate(names) if name in wanted]
            if self.detail == "global":
                positions = []
            by_module = self.detail == "module" or (self.detail == "auto" and len(positions) > CAP)
            groups = module_groups([names[i] for i in positions]) if by_module else []
            if len(self._chosen) > 32:  # parameters come and go: do not grow with them
                self._chosen.clear()
                self._tags.clear()
                self._indices.clear()
            found = self._chosen[names] = (positions, groups)
        return found

    def _tagged(
        self, section: str, columns: tuple[str, ...], prefix: str, labels: tuple[str, ...]
    ) -> tuple[str, ...]:
        # The same tuple again and again: whoever reads the tags can tell by its identity.
        key = (section, columns, prefix, labels)
        if key not in self._tags:
            self._tags[key] = tuple(
                f"{section}.{column}/{prefix}{label}" for column in columns for label in labels
            )
        return self._tags[key]

    def _index(
        self, groups: list[str], labels: tuple[str, ...], columns: dict[str, Tensor]
    ) -> Tensor:
        device = next(iter(columns.values())).device
        key = (tuple(groups), device)
        if key not in self._indices:
            place = {label: i for i, label in enumerate(labels)}
            self._indices[key] = torch.tensor([place[group] for group in groups], device=device)
        return self._indices[key]


def _pooled(
    columns: dict[str, Tensor], index: Tensor, elements: Sequence[int], groups: int
) -> dict[str, Tensor]:
    """The columns of groups from those of their members, `[groups]` each."""
    some = next(iter(columns.values()))
    wide = torch.float32 if some.device.type == "mps" else torch.float64
    n = torch.tensor(elements, dtype=wide).to(some.device)

    def added(values: Tensor) -> Tensor:
        return torch.zeros(groups, dtype=wide, device=some.device).index_add_(0, index, values)

    total = added(n)
    # A tensor without elements has no mean; it must not make its module's NaN.
    by_column = {name: values.to(wide).where(n > 0, 0) for name, values in columns.items()}
    found: dict[str, Tensor] = {}
    for name, values in by_column.items():
        if name == "norm":
            found[name] = added(values**2).sqrt()
        elif name == "max_abs":
            empty = torch.zeros(groups, dtype=wide, device=some.device)
            found[name] = empty.scatter_reduce_(0, index, values, "amax")
        elif name == "std":
            mean = added(n * by_column["mean"]) / total
            spread = values**2 + (by_column["mean"] - mean[index]) ** 2
            found[name] = (added(n * spread) / total).sqrt()
        else:
            found[name] = added(n * values) / total
    return {name: values.to(some.dtype) for name, values in found.items()}
