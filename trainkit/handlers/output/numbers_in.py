"""Find the numbers in the output of a step that can be drawn as series."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from numbers import Real
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor

from trainkit.stats.tensors.readable import UnreadableError, plain

__all__ = ["LONGEST", "Number", "as_number", "is_number", "is_ordinary", "numbers_in"]

Number = Tensor | float

LONGEST = 64  # elements of a vector that become a series each
_DEEPEST = 4  # mappings inside mappings
_MOST = 256  # entries of a mapping

_DTYPES = frozenset(
    (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
     torch.int16, torch.int8, torch.uint8, torch.bool)
)  # fmt: skip


def is_number(value: Any) -> TypeGuard[Number]:
    """Whether this is one real number: a Python or NumPy one, or a tensor of one element."""
    if isinstance(value, Tensor):
        return value.numel() == 1 and value.ndim <= 1 and not value.is_complex()
    return isinstance(value, Real) and not isinstance(value, bool)


def as_number(value: Any) -> Number | None:
    """One real number as a writer takes it, without gradient; None where it is none.

    Args:
        value: A tensor of one element (0-d or `[1]`) stays on its device; one whose numbers cannot
            be had (on `meta`, packed) is none. Any other number (NumPy's, a `Fraction`, a
            `Decimal`, an array of one element) becomes a float. A bool is no number here.

    Example:
        >>> from fractions import Fraction
        >>> as_number(Fraction(1, 4)), as_number(torch.tensor([2.0])), as_number(1j)
        (0.25, tensor(2.), None)
    """
    if type(value) is float:
        return value
    if isinstance(value, Tensor):
        # Most are detached and 0-d already, and a launch is felt.
        if value.ndim == 0 and not value.requires_grad and is_ordinary(value):
            return value
        return _scalar(value)
    if isinstance(value, np.ndarray):
        if value.size != 1 or value.ndim > 1 or value.dtype.kind not in "iuf":
            return None
        return float(value.reshape(()))
    if isinstance(value, bool) or not isinstance(value, Real | Decimal):
        return None
    try:
        return float(value)
    except (OverflowError, ValueError, TypeError):  # for example an integer of 400 digits
        return None


def is_ordinary(value: Tensor) -> bool:
    """Whether this is a plain tensor of plain numbers: most are, and nothing need be asked."""
    if type(value) is not Tensor or value.is_meta:
        return False
    return value.layout is torch.strided and value.dtype in _DTYPES


def _scalar(value: Tensor) -> Tensor | None:
    if value.numel() != 1 or value.ndim > 1 or value.is_complex():
        return None
    try:
        value = value.detach() if is_ordinary(value) else plain(value)
        value = value.reshape(()) if value.ndim else value  # the same one, where it can be
        return value if value.dtype in _DTYPES else value.float()
    except (UnreadableError, RuntimeError, NotImplementedError):
        return None


def numbers_in(name: str, value: Any, depth: int = 0) -> Iterator[tuple[str, Number | None]]:
    """The numbers in a value, under their own names; None in place of what cannot be drawn.

    A mapping of at most 256 entries gives `<name>/<key>`; a list, tuple, vector or array of at most
    64 numbers gives `<name>/<i>`, as with Ignite's loggers; a bool is 0 or 1. None, texts, and
    tensors or arrays of more dimensions or elements are data and no numbers: they are passed over.

    Args:
        name: Of the value.
        value: Anything.
        depth: Of mappings around it.

    Example:
        >>> list(numbers_in("a", {"x": 1.5, "v": [1, 2], "text": "no", "z": 1j}))
        [('a/x', 1.5), ('a/v/0', 1.0), ('a/v/1', 2.0), ('a/z', None)]
    """
    if value is None or isinstance(value, str | bytes):
        return
    number = as_number(value)
    if number is not None:
        yield name, number
    elif isinstance(value, bool | np.bool_):
        yield name, float(value)
    elif isinstance(value, Mapping):
        if depth == _DEEPEST or len(value) > _MOST:
            yield name, None
        else:
            for key, item in value.items():
                yield from numbers_in(f"{name}/{key}", item, depth + 1)
    elif isinstance(value, Tensor | np.ndarray):
        yield from _in_array(name, value)
    elif isinstance(value, list | tuple):
        yield from _in_list(name, value)
    else:
        yield name, None


def _in_array(name: str, value: Any) -> Iterator[tuple[str, Number | None]]:
    if value.ndim > 1 or (value.ndim == 1 and value.shape[0] > LONGEST):
        return
    vector = _vector(value)
    if vector is None:
        yield name, None
    else:
        yield from ((f"{name}/{i}", element) for i, element in enumerate(vector.unbind()))


def _vector(value: Any) -> Tensor | None:
    """`[N]` real numbers; None where they are none, or cannot be had."""
    if isinstance(value, np.ndarray):
        kept = value.ndim == 1 and value.dtype.kind in "iufb"
        return torch.as_tensor(value) if kept else None
    if value.ndim != 1 or value.is_complex():
        return None
    try:
        return value.detach() if is_ordinary(value) else plain(value)
    except (UnreadableError, RuntimeError, NotImplementedError):
        return None


def _in_list(name: str, values: list[Any] | tuple[Any, ...]) -> Iterator[tuple[str, Number | None]]:
    numbers = [as_number(value) for value in values[: LONGEST + 1]]
    if any(number is not None for number in numbers):
        if len(numbers) > LONGEST:
            yield name, None
        else:
            yield from ((f"{name}/{i}", number) for i, number in enumerate(numbers))
