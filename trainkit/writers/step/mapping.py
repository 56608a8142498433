"""A mapping of scalars of any kind as a few whole tensors."""

from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal
from numbers import Real
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from trainkit.writers.step.transfer import wire

__all__ = ["Grouped", "check_real", "check_tag", "grouped"]

# Tensors with the tags of their elements; Python numbers.
Grouped = tuple[list[tuple[tuple[str, ...], Tensor]], dict[str, float]]

# dtypes of which a Python number holds every value.
_PYTHON = (torch.float32, torch.float64)


def grouped(scalars: Mapping[str, Tensor | float]) -> Grouped:
    """Copies of the values, one tensor for each device and dtype.

    Raises:
        TypeError: A tag that is no str, a value that is no number or not real.
        ValueError: A tensor of more than one element.
    """
    numbers: dict[str, float] = {}
    for tag, value in scalars.items():  # usually a few values
        if type(tag) is not str:
            break
        if type(value) is Tensor and value.is_cpu and value.dtype in _PYTHON and value.ndim == 0:
            numbers[tag] = _read(value)
        elif type(value) is float:
            numbers[tag] = value
        else:
            break
    else:
        return [], numbers
    values = list(scalars.values())
    if set(map(type, scalars)) <= {str} and set(map(type, values)) == {Tensor} and _alike(values):
        return [(tuple(scalars), _stacked(cast("list[Tensor]", values)))], {}
    return _one_by_one(scalars)


def _read(value: Tensor) -> float:
    # Main memory, seen as NumPy's: there is no device to wait for, and nothing is launched.
    if value.requires_grad or value.is_neg():
        value = value.detach().resolve_neg()
    return float(value.numpy())


def _alike(values: list[Any]) -> bool:
    return (
        len({value.dtype for value in values}) == 1
        and len({value.get_device() for value in values}) == 1
        and not any(value.dim() for value in values)
    )


def _one_by_one(scalars: Mapping[str, Tensor | float]) -> Grouped:
    groups: dict[tuple[torch.device, torch.dtype], dict[str, Tensor]] = defaultdict(dict)
    numbers: dict[str, float] = {}
    for tag, value in scalars.items():
        check_tag(tag)
        if isinstance(value, Tensor):
            groups[value.device, value.dtype][tag] = _single(tag, value)
        else:
            numbers[tag] = _number(tag, value)
    stacks = [(tuple(group), _stacked(list(group.values()))) for group in groups.values()]
    return stacks, numbers


def _stacked(values: list[Tensor]) -> Tensor:
    return wire(check_real("scalars", torch.stack(values)))


def _single(tag: str, value: Tensor) -> Tensor:
    if value.numel() != 1:
        raise ValueError(
            f"scalar {tag!r} must be a 0-d tensor, got shape {list(value.shape)}; write its mean, "
            "or the whole of it with write_histograms"
        )
    return check_real(f"scalar {tag!r}", value.reshape(()))


def _number(tag: str, value: Any) -> float:
    if isinstance(value, Real | Decimal | np.number | np.bool_) and not isinstance(
        value, np.complexfloating
    ):
        try:
            return float(value)
        except OverflowError as error:
            raise ValueError(f"scalar {tag!r} is too large for a float64") from error
        except (TypeError, ValueError):  # an array of numbers, say, that calls itself one
            pass
    raise TypeError(f"scalar {tag!r} must be a 0-d tensor or a number, got {type(value).__name__}")


def check_tag(tag: Any) -> str:
    """The tag, if it is one."""
    if not isinstance(tag, str):
        raise TypeError(f"a tag must be a str, got {type(tag).__name__} {tag!r}")
    return tag


def check_real(what: str, values: Tensor) -> Tensor:
    """The values, if they are real."""
    if values.is_complex():
        raise TypeError(
            f"{what} must be real, got {values.dtype}; write .real and .imag, or .abs()"
        )
    return values
