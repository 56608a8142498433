"""The output of one step in the form that all monitors read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from trainkit.handlers.output.numbers_in import Number, is_ordinary
from trainkit.handlers.output.transform_hint import transform_for
from trainkit.samples import samples_in
from trainkit.stats.outputs.appearance import Appearance
from trainkit.stats.tensors.readable import UnreadableError, plain

__all__ = ["StepOutput", "UnclearOutputError", "describe"]


class UnclearOutputError(TypeError):
    """What the step returned can be read in more than one way, or in none.

    Args:
        found: What was found.
        output: What the step returned.
    """

    def __init__(self, found: str, output: Any) -> None:
        self.found = found
        transform = transform_for(output)
        hint = "" if transform is None else f", or pass output_transform={transform}"
        super().__init__(f"{found}; return a dict with 'loss', 'y_pred' and 'y'{hint}")


@dataclass(eq=False, slots=True)
class StepOutput:
    """What one step returned, as far as monitors look at it; None or empty where it is missing.

    Args:
        loss: The total, 0-d.
        losses: Name → weighted contribution, 0-d each; they add up to `loss`.
        scalars: Tag → 0-d value: whatever else the step found worth a chart.
        y_pred: Predictions, first dimension the batch.
        y: Targets, first dimension the batch.
        left_out: What is in the output and is not written → why.
        batch: What the step was given, where that is known.
        seen: What the step returned.
        by_sample: Whether `y_pred` and `y` are lists with those of each sample.
    """

    loss: Number | None = None
    losses: dict[str, Number] = field(default_factory=dict)
    scalars: dict[str, Number] = field(default_factory=dict)
    y_pred: Any = None
    y: Any = None
    left_out: dict[str, str] = field(default_factory=dict)
    batch: Any = None
    seen: Any = None
    by_sample: bool = False
    _looks: dict[str, Appearance] = field(default_factory=dict, repr=False)

    @property
    def batch_size(self) -> int:
        """Samples in the batch, from `y`, `y_pred`, `batch` or what else the step returned.

        1 where none of them tells.
        """
        for part in (self.y, self.y_pred, self.batch, self.seen):
            found = samples_in(part)
            if found is not None:
                return found
        return 1

    def pair(self) -> tuple[Any, Any]:
        """`y_pred` and `y`, first dimension the batch: those of single samples are stacked.

        None in place of a tensor whose numbers cannot be had; `left_out` then says why.
        """
        if self.by_sample:
            self.by_sample = False
            self.y_pred = _stacked(self.y_pred)
            self.y = _stacked(self.y, self.y_pred)
        return self._readable("y_pred"), self._readable("y")

    def appearance(self, kind: str) -> Appearance:
        """What the predictions look like that are said to be of this kind; looked at once."""
        if kind not in self._looks:
            y_pred, y = self.pair()
            target = y if isinstance(y, Tensor) else None
            self._looks[kind] = Appearance.of(y_pred, kind, target)
        return self._looks[kind]

    def _readable(self, name: str) -> Any:
        value = getattr(self, name)
        if not isinstance(value, Tensor) or is_ordinary(value):
            return value
        try:
            return plain(value)
        except (UnreadableError, RuntimeError, NotImplementedError) as error:
            self.left_out[name] = str(error)
            return None


def describe(value: Any) -> str:
    """The kinds and shapes of what is in a value, on one short line."""
    if isinstance(value, Tensor):
        return f"Tensor{list(value.shape)}"
    if isinstance(value, tuple | list):
        inside = ", ".join(describe(part) for part in value[:6])
        return f"{type(value).__name__}({inside}{', ...' if len(value) > 6 else ''})"
    if isinstance(value, Mapping):
        inside = ", ".join(map(str, list(value)[:6]))
        return f"{type(value).__name__} with {inside or 'nothing'}"
    return type(value).__name__


def _stacked(value: Any, beside: Any = None) -> Any:
    """Those of single samples as one tensor, if they have one shape; anything else as it is."""
    if not isinstance(value, list):
        return value
    if all(isinstance(item, Tensor) for item in value):
        if not value or len({(item.shape, item.dtype) for item in value}) > 1:
            return value
        # A subclass may bring along much more than numbers (MONAI's does).
        return torch.stack([item.as_subclass(Tensor) for item in value])
    if all(isinstance(item, int | float) for item in value):
        numbers = torch.tensor(value)
        # Without waiting for all that the device has to do.
        return (
            numbers.to(beside.device, non_blocking=True) if isinstance(beside, Tensor) else numbers
        )
    return value
