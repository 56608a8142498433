"""Check a value from YAML against the annotation of a parameter."""

import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from inspect import Parameter
from typing import Any, Literal, Union, get_args, get_origin

__all__ = ["accepts", "described", "takes_tensor"]

_SCALARS = (bool, int, float, str)


def accepts(annotation: Any, value: Any) -> bool:
    """Whether the annotation allows the value, as far as this can be told; in doubt, yes.

    Args:
        annotation: A type, or anything else that can stand behind a parameter's colon.
        value: A number, a text, a switch, null, or a list or mapping of such.

    Example:
        >>> accepts(float, 1), accepts(float, "1"), accepts(tuple[float, float], [0.9, 0.99])
        (True, False, True)
    """
    if value is None:
        return annotation in (None, type(None), Any, object, Parameter.empty) or _unclear(
            annotation, value
        )
    if annotation is bool:
        return isinstance(value, bool) or value in (0, 1)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if annotation is str:
        return isinstance(value, str)
    if annotation in (list, tuple):
        return isinstance(value, list)
    if annotation in (None, type(None)):
        return False
    return _unclear(annotation, value)


def takes_tensor(annotation: Any) -> bool:
    """Whether a tensor is what the annotation asks for, perhaps among others."""
    if get_origin(annotation) in (Union, types.UnionType):
        return any(map(takes_tensor, get_args(annotation)))
    return getattr(annotation, "__module__", "") == "torch" and annotation.__name__ == "Tensor"


def _unclear(annotation: Any, value: Any) -> bool:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return any(accepts(option, value) for option in inner)
    if origin is Literal:
        return value in inner
    if origin is typing.Annotated:
        return accepts(inner[0], value)
    if value is None:
        # A class is not optional; other annotations may be.
        return origin is None and not isinstance(annotation, type)
    if origin in (list, Sequence, Iterable) and isinstance(value, list):
        return all(accepts(inner[0], item) for item in value)
    if origin is tuple and isinstance(value, list):
        if len(inner) == 2 and inner[1] is Ellipsis:
            return all(accepts(inner[0], item) for item in value)
        return len(value) == len(inner) and all(map(accepts, inner, value))
    if origin in (list, tuple, Sequence, Iterable) and isinstance(value, bool | int | float):
        return False
    if origin in (list, tuple, dict, Mapping):
        return isinstance(value, dict) and origin in (dict, Mapping)
    # No YAML value is a tensor or a module; many functions take the name of a device.
    foreign = isinstance(annotation, type) and annotation.__module__.split(".")[0] == "torch"
    return not foreign or annotation.__name__ in ("device", "dtype")


def described(annotation: Any) -> str:
    """The annotation as it is written, without module names.

    Example:
        >>> described(float | None)
        'float | None'
    """
    if get_origin(annotation) in (Union, types.UnionType):
        return " | ".join(described(option) for option in get_args(annotation))
    if annotation is type(None):
        return "None"
    if get_origin(annotation) is None and isinstance(annotation, type):
        return annotation.__name__
    return re.sub(r"\b(typing|collections\.abc|torch)\.", "", str(annotation))
