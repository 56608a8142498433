"""The output of a module as the one tensor that is measured."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

__all__ = ["first_tensor"]


def first_tensor(output: Any) -> Tensor | None:
    """The first tensor in the order in which the output lists its parts.

    In lists, tuples, mappings and dataclasses, as deep as they go; a `ModelOutput` is a mapping.

    Example:
        >>> import torch
        >>> first_tensor({"loss": None, "logits": (torch.tensor(1.0), torch.tensor(2.0))})
        tensor(1.)
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        output = list(output.values())
    elif is_dataclass(output):
        output = [getattr(output, field.name, None) for field in fields(output)]
    if isinstance(output, tuple | list):
        found = (first_tensor(part) for part in output)
        return next((part for part in found if part is not None), None)
    return None
