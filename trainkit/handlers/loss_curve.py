"""The numbers of every step, read without asking a device and without asking what they are."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trainkit.handlers.output import Number
from trainkit.writers.protocol import Curve, Point, Writer

__all__ = ["Curves", "Places"]

# So many kinds of outputs are remembered.
_MOST = 8

Row = tuple[float, ...] | Tensor


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
        first = next(iter(values.values()), None)
        if len(values) == 1 and (first is output or _same_memory(output, first)):
            self._whole = True
        elif type(output) is dict:
            self._places = _places(output, list(values.values()))
            outer = {place[0] for place in self._places or () if place[0] is not None}
            self._sizes = [(None, len(output)), *((name, len(output[name])) for name in outer)]

    @property
    def found(self) -> bool:
        """Whether all of them were found."""
        return self._whole or self._places is not None

    def row(self, output: Any) -> Row | None:
        """The numbers of another step's output; None where it is not like the first."""
        if self._whole:
            number = _number(output)
            return _row([output]) if number is None else (number,)
        if self._places is None or type(output) is not dict:
            return None
        values, numbers = [], []
        try:
            for name, size in self._sizes:
                if len(output if name is None else output[name]) != size:
                    return None
            for name, key in self._places:
                value = output[key] if name is None else output[name][key]
                values.append(value)
                numbers.append(_number(value))
        except (KeyError, TypeError):
            return None
        return _row(values) if None in numbers else tuple(numbers)  # type: ignore[arg-type]


class Curves:
    """Writes the numbers of every iteration as points of a curve.

    Args:
        writer: Where they go.
        description: Of the curves.
    """

    def __init__(self, writer: Writer, description: str) -> None:
        self._writer = writer
        self._description = description
        self._tags: tuple[str, ...] | None = None
        # Where other tags come in turn each has a curve of its own: the points of a tag must be
        # written in their order.
        self._apart = False
        self._curves: dict[tuple[str, ...], Curve] = {}
        # The newest first: of engines that return other things in turn there are several.
        self._known: list[tuple[Places, tuple[str, ...]]] = []

    def write_again(self, step: int, output: Any) -> bool:
        """Write what stands where numbers stood before, if it does."""
        for i, (places, tags) in enumerate(self._known):
            row = places.row(output)
            if row is not None:
                self._write(step, tags, row)
                if i:  # the next one is likely to be like it
                    self._known.insert(0, self._known.pop(i))
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
        if row is None:  # of several kinds
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
        if not self._apart or len(tags) == 1:
            self._writer.write_scalars(step, Point(self._curve(tags), row))
            return
        for i, tag in enumerate(tags):
            self._writer.write_scalars(step, Point(self._curve((tag,)), row[i : i + 1]))

    def _curve(self, tags: tuple[str, ...]) -> Curve:
        curve = self._curves.get(tags)
        if curve is None:
            curve = self._curves[tags] = Curve(tags, self._description)
        return curve


def _number(value: Any) -> float | None:
    """A number that is in main memory already."""
    # Its own memory, seen as NumPy's: nothing is launched, and there is no device to wait for.
    if type(value) is Tensor:
        if value.is_cpu and value.dtype is torch.float32 and (not value.ndim or value.numel() == 1):
            number: float = (value.detach() if value.requires_grad else value).numpy().item()
            return number
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
