"""Find the tensors in nested containers."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

__all__ = ["tensors_in"]


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Every tensor in a tensor, or in lists, tuples and mappings of such.

    Example:
        >>> import torch
        >>> [len(tensor) for tensor in tensors_in({"x": torch.zeros(2), "more": [torch.zeros(3)]})]
        [2, 3]
    """
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
