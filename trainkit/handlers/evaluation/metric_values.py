"""How a chart, an image or a text shows the value of a metric, whatever it is."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from numbers import Complex, Real
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from trainkit.handlers.output.as_step_output import Number

__all__ = ["Shown", "UnshownError", "parts_of", "shown"]

_LONGEST = 64  # maximum number of vector elements that become series
_LARGEST = 512  # maximum number of rows of a matrix that becomes an image


class UnshownError(ValueError):
    """Nothing shows this value; the message says why."""


@dataclass(slots=True)
class Shown:
    """What is to be written at one step, by tag."""

    scalars: dict[str, Number] = field(default_factory=dict)
    images: dict[str, Tensor] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)

    def add(self, tag: str, value: Number | Tensor | str) -> None:
        """One more value, as `shown` made it."""
        self.tags.add(tag)
        if isinstance(value, str):
            self.texts[tag] = value
        elif isinstance(value, Tensor) and value.ndim:
            self.images[tag] = value
        else:
            self.scalars[tag] = value


def parts_of(tag: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The parts of a value that become a series each, and their tags.

    A part that cannot be taken out is handed on as the error that says why; `shown` raises it.

    Example:
        >>> dict(parts_of("m", {"a": 1.0, "b": [2.0, 3.0]}))
        {'m/a': 1.0, 'm/b/0': 2.0, 'm/b/1': 3.0}
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from parts_of(f"{tag}/{key}", item)
    elif isinstance(value, list | tuple) and len(value) <= _LONGEST:
        for i, item in enumerate(value):
            yield from parts_of(f"{tag}/{i}", item)
    elif isinstance(value, Tensor):
        vector = value.ndim == 1 and 1 < value.numel() <= _LONGEST
        plain = _or_why(_plain, value) if vector else value
        if vector and isinstance(plain, Tensor):
            yield from ((f"{tag}/{i}", element) for i, element in enumerate(plain.unbind()))
        else:
            yield tag, plain
    elif hasattr(value, "__array__") and not isinstance(value, Real):
        made = _or_why(_from_array, value)
        yield from parts_of(tag, made) if isinstance(made, Tensor) else [(tag, made)]
    else:
        yield tag, value


def shown(value: Any) -> Number | Tensor | str:
    """A number or 0-d tensor for a chart, a picture for an image, a text for a text.

    Raises:
        UnshownError: It is none of these.
    """
    if isinstance(value, UnshownError):
        raise value
    if isinstance(value, str):
        return value
    if isinstance(value, Tensor):
        plain = _plain(value)
        if plain.numel() == 1:
            return plain.reshape(())
        if plain.ndim == 2 and 2 <= len(plain) == plain.shape[1] <= _LARGEST:
            return _picture(plain)
        raise UnshownError(f"no chart shows a tensor of shape {list(value.shape)}")
    if isinstance(value, Real | Decimal):  # bool, Fraction and NumPy's numbers too
        return float(value)
    if isinstance(value, Complex):
        raise UnshownError(f"no chart shows the complex number {value!r:.40}")
    if isinstance(value, list | tuple):
        raise UnshownError(f"no chart shows a {type(value).__name__} of {len(value)} values")
    raise UnshownError("it is None" if value is None else f"no chart shows a {_kind(value)}")


def _plain(value: Tensor) -> Tensor:
    """The tensor without its history and its class.

    Raises:
        UnshownError: It has no elements of its own in a plain layout.
    """
    kind = (
        _kind(value) if _wraps(value)
        else "complex tensor" if value.is_complex()
        else "quantized tensor" if value.is_quantized
        else "tensor on the meta device" if value.is_meta
        else "nested tensor" if value.is_nested
        else "sparse tensor" if value.layout is not torch.strided
        else None
    )  # fmt: skip
    if kind is not None:
        raise UnshownError(f"no chart shows a {kind}")
    plain = value.detach()
    return plain if type(plain) is Tensor else plain.as_subclass(Tensor)


def _wraps(value: Any) -> bool:
    return is_traceable_wrapper_subclass(value) or hasattr(value, "full_tensor")


def _or_why(make: Callable[[Any], Tensor], value: Any) -> Tensor | UnshownError:
    try:
        return make(value)
    except UnshownError as error:
        return error


def _from_array(value: Any) -> Tensor:
    try:
        return torch.as_tensor(value)
    except Exception as error:
        raise UnshownError(f"no chart shows a {_kind(value)} ({error})") from error


def _kind(value: Any) -> str:
    return type(value).__name__


def _picture(matrix: Tensor) -> Tensor:
    """Light where a row has most of its sum; at least 200 pixels wide."""
    matrix = matrix.float()
    shares = (matrix / matrix.sum(1, keepdim=True)).nan_to_num(0).clamp(0, 1)
    pixels = -(-200 // matrix.shape[0])
    return shares.repeat_interleave(pixels, 0).repeat_interleave(pixels, 1)
