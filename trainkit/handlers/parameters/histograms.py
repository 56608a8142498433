"""Histograms of named tensors, sampled apart from the scalars."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from trainkit.handlers.parameters.measurable import Measurable
from trainkit.handlers.parameters.parameter_names import ParameterNames
from trainkit.handlers.parameters.series import Series
from trainkit.handlers.sampling.cadence import Every
from trainkit.stats import histograms
from trainkit.writers.protocol import Histograms, Writer

__all__ = ["TensorHistograms"]


class TensorHistograms:
    """Writes `<section>.histogram/<name>` of those tensors that have a series each.

    Args:
        section: First part of the tags.
        every: In iterations: in the first sampled one at or after each multiple; None: never.

    Raises:
        TypeError, ValueError: `every` is not a number of iterations.
    """

    def __init__(self, section: str, every: int | None) -> None:
        self.section = section
        self.every = None if every is None else Every(every).every
        # By optimizer: the last iteration that got them, and its number.
        self._latest: dict[str, tuple[int, int]] = {}
        self._measurable = Measurable(f"{section}.histogram", "tensor")

    def state_dict(self) -> dict[str, Any]:
        """By optimizer: when there were histograms last."""
        return {"latest": dict(self._latest)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._latest = {key: (number, at) for key, (number, at) in state_dict["latest"].items()}

    def due(self, iteration: int, key: str = "") -> bool:
        """Whether this sampled iteration gets those of an optimizer."""
        if self.every is None:
            return False
        number, latest = iteration // self.every, self._latest.get(key)
        if latest is not None and latest[0] == number:
            return latest[1] == iteration
        self._latest[key] = number, iteration
        return True

    def write(
        self,
        writer: Writer,
        step: int,
        series: Series,
        names: ParameterNames,
        tensors: Sequence[Tensor],
        prefix: str,
    ) -> None:
        """Write those of the chosen tensors; none where modules stand for them."""
        chosen = series.positions(names)
        if not (chosen and series.per_parameter(names)):
            return
        shown, _, found = self._measurable.measure(
            prefix,
            names.at(chosen),
            [tensors[i] for i in chosen],
            lambda _, some: histograms(some),
        )
        if found is not None:
            tags = [f"tensors.{self.section}.histogram/{prefix}{name}" for name in shown]
            writer.write_histograms(step, Histograms(tags, *found))
