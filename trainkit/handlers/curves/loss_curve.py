"""Read the numbers of every step quickly, without a device read and without type checks."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trainkit.handlers.curves.points import Points, Row
from trainkit.handlers.output.as_step_output import Number
from trainkit.writers.guarded import GuardedWriter
from trainkit.writers.protocol import Curve

__all__ = ["Curves", "Places"]

# Number of output kinds that are remembered.
_MOST = 8


class Places:
    """Where some numbers stand in what a step returns, so that they are found there again.

    Args:
        output: What a step returned.
        values: Numbers that were found in it.
    """

    def __init__(self, output: Any, values: Mapping[str, Number]) -> None:
        self._whole = False
        self._sizes: list[tuple[str | None, int]] = []
        self._places: list[tuple[str | None, Any]] | None = None
        # The keys, where all of them stand in the output itself.
        self._keys: list[Any] | None = None
        first = next(iter(values.values()), None)
        if len(values) == 1 and (first is output or _same_memory(output, first)):
            self._whole = True
        elif type(output) is dict:
            self._places = _places(output, list(values.values()))
            outer = {place[0] for place in self._places or () if place[0] is not None}
            self._sizes = [(None, len(output)), *((name, len(output[name])) for name in outer)]
            if self._places is not None and not outer:
                self._keys = [key for _, key in self._places]

    @property
    def found(self) -> bool:
        """Whether all of them were found."""
        return self._whole or self._places is not None

    def row(self, output: Any) -> Row | None:
        """The numbers of another step's output; None where it is not like the first."""
        try:
            if self._whole:
                values = [output]
            elif type(output) is not dict:
                return None
            elif self._keys is not None:
                if len(output) != self._sizes[0][1]:
                    return None
                values = [output[key] for key in self._keys]
            else:
                found = self._nested(output)
                if found is None:
                    return None
                values = found
            numbers = [_number(value) for value in values]
            return _row(values) if None in numbers else tuple(numbers)  # type: ignore[arg-type]
        except (KeyError, TypeError, RuntimeError):  # the output has changed, or cannot be read
            return None

    def _nested(self, output: dict[Any, Any]) -> list[Any] | None:
        if self._places is None:
            return None
        for name, size in self._sizes:
            if len(output if name is None else output[name]) != size:
                return None
        return [output[key] if name is None else output[name][key] for name, key in self._places]


class Curves:
    """Writes the numbers of every iteration as points of a curve.

    Args:
        writer: Where they go.
        description: Of the curves.
    """

    def __init__(self, writer: GuardedWriter, description: str) -> None:
        self._writer = writer
        self._description = description
        #: The total of the last output that was written again, if it was in main memory.
        self.loss: float | None = None
        self._tags: tuple[str, ...] | None = None
        # Where other tags come in turn each has a curve of its own: the points of a tag must be
        # written in their order.
        self._apart = False
        self._points: dict[tuple[str, ...], Points] = {}
        # The newest first: of engines that return other things in turn there are several.
        self._known: list[tuple[Places, tuple[str, ...]]] = []

    def write_again(self, step: int, output: Any) -> bool:
        """Write what stands where numbers stood before, if it does."""
        for i, (places, tags) in enumerate(self._known):
            row = places.row(output)
            if row is not None:
                self._write(step, tags, row)
                if i:  # the next output probably has the same form
                    self._known.insert(0, self._known.pop(i))
                seen = type(row) is tuple and tags[0] == "loss/total"
                self.loss = row[0] if seen else None  # type: ignore[assignment]
                return True
        return False

    def write(self, step: int, output: Any, values: Mapping[str, Number]) -> None:
        """Write these numbers, and remember where they stand in the output."""
        tags = tuple(values)
        if self._tags is None:
            self._tags = tags
        elif tags != self._tags:
            self._apart = True
        row = _row(list(values.values()))
        if row is None:  # the outputs have several forms
            for tag, value in values.items():
                one = _row([value])
                if one is not None:
                    self._write(step, (tag,), one)
                else:
                    self._writer.write_scalars(step, {tag: value})
            self._apart = True
            return
        self._write(step, tags, row)
        places = Places(output, values)
        if places.found:
            self._known = [(places, tags), *self._known[: _MOST - 1]]

    def _write(self, step: int, tags: tuple[str, ...], row: Row) -> None:
        if self._apart and len(tags) > 1:
            for i, tag in enumerate(tags):
                self._write(step, (tag,), row[i : i + 1])
            return
        points = self._points.get(tags)
        if points is None:
            points = self._points[tags] = Points(self._writer, Curve(tags, self._description))
        points.write(step, row)


def _number(value: Any) -> float | None:
    """The number, if it is in main memory."""
    if type(value) is Tensor:
        # There is no device to wait for. What has no memory, or lies behind a transform of
        # functorch's, raises a RuntimeError.
        if value.is_cpu and value.dtype is torch.float32 and (not value.ndim or value.numel() == 1):
            return value.item()
        return None
    if type(value) is float:
        return value
    return float(value) if isinstance(value, float | int) and type(value) is not bool else None


def _same_memory(other: Any, value: Any) -> bool:
    """Whether one is the other without its gradient, or in another shape."""
    return (
        type(other) is Tensor
        and type(value) is Tensor
        and other.dtype is value.dtype
        and other.numel() == 1
        and other.layout is torch.strided
        and other.data_ptr() == value.data_ptr() != 0
    )


def _row(values: list[Any]) -> Row | None:
    """The numbers together; a copy, because a step may use the same memory again.

    None where they are no numbers, or cannot be put together: on several devices, say.
    """
    if not all(type(value) is Tensor and value.numel() == 1 for value in values):
        numbers = [_number(value) for value in values]
        return None if None in numbers else tuple(numbers)  # type: ignore[arg-type]
    first, *others = values
    alike = all(v.device == first.device and v.dtype is first.dtype for v in others)
    if not alike or first.is_complex() or first.layout is not torch.strided:
        return None
    return torch.stack([value.detach().reshape(()) for value in values])


def _places(output: dict[Any, Any], values: list[Number]) -> list[tuple[str | None, Any]] | None:
    """For each value the key under which it stands, and in which dict of the output."""
    inner = [(name, part) for name, part in output.items() if type(part) is dict]
    found: list[tuple[str | None, Any]] = []
    for value in values:
        candidates: list[tuple[str | None, Any]] = [
            (name, key)
            for name, part in [(None, output), *inner]
            for key, other in part.items()
            if other is value or _same_memory(other, value)
        ]
        if not candidates:
            return None
        found.append(candidates[0])
    return found
