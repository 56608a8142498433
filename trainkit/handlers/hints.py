"""The `output_transform` that would help, built from what an engine's step really returned."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import Any

from torch import Tensor

from trainkit.handlers.numbers_in import as_number

__all__ = ["transform_for"]

_LOSSES = ("total_loss", "loss", "err", "cost", "nll", "objective", "elbo")
_NO_LOSSES = ("acc", "score", "metric", "lr", "time", "scale", "norm", "weight", "step", "epoch")
_INPUTS = ("x", "input", "inputs", "image", "images", "data", "features", "mask", "weights")


@dataclass(frozen=True)
class _Part:
    expression: str
    name: str
    value: Any


def transform_for(output: Any, wanted: tuple[str, ...] = ("loss", "y_pred", "y")) -> str | None:
    """A function, as source text, that makes of this output a dict that monitors understand.

    It can be pasted and works. Which entry is meant is a guess, by names, kinds and shapes.

    Args:
        output: What the step returned.
        wanted: Which of `loss`, `y_pred` and `y` it should have; those that cannot be found are
            left out.

    Returns:
        None where nothing in the output could be any of them.

    Example:
        >>> transform_for({"errD": 0.5, "acc": 1.0}, ("loss",))
        "lambda output: {**output, 'loss': output['errD']}"
    """
    parts = _parts(output)
    loss = _loss(parts)
    y_pred, y = _pair(parts)
    found = {"loss": loss, "y_pred": y_pred, "y": y}
    entries = [f"{n!r}: {part.expression}" for n in wanted if (part := found[n]) is not None]
    if not entries:
        return None
    if isinstance(output, Mapping):
        entries.insert(0, "**output")
    return f"lambda output: {{{', '.join(entries)}}}"


def _parts(output: Any) -> list[_Part]:
    if isinstance(output, Mapping):
        keys = [(key.value if isinstance(key, Enum) else key, key) for key in output]
        return [_Part(f"output[{name!r}]", str(name), output[key]) for name, key in keys]
    if isinstance(output, tuple | list) and not hasattr(output, "_fields"):
        return [_Part(f"output[{i}]", "", value) for i, value in enumerate(output)]
    if isinstance(output, tuple):
        names = list(output._fields)  # type: ignore[attr-defined]  # a named tuple
    elif is_dataclass(output):
        names = [one.name for one in fields(output)]
    elif isinstance(output, Tensor):
        return [_Part("output", "", output)]
    else:
        names = [name for name in getattr(output, "__dict__", ()) if name.isidentifier()]
    return [_Part(f"output.{name}", name, getattr(output, name, None)) for name in names]


def _loss(parts: list[_Part]) -> _Part | None:
    numbers = [p for p in parts if as_number(p.value) is not None and not _has_a_batch(p)]
    for likely in _LOSSES:
        for part in numbers:
            if likely in part.name.lower().replace(" ", "_"):
                return part
    rest = [p for p in numbers if not any(no in p.name.lower() for no in _NO_LOSSES)]
    return rest[0] if rest else None


def _pair(parts: list[_Part]) -> tuple[_Part | None, _Part | None]:
    """What may be predictions and targets."""
    tensors = [
        p for p in parts
        if isinstance(p.value, Tensor) and p.value.ndim and p.name.lower() not in _INPUTS
    ]  # fmt: skip
    if len(tensors) > 2 and not tensors[0].name:  # `(x, y, y_pred)` and its like
        tensors = tensors[1:]
    scores = [p for p in tensors if p.value.is_floating_point()]
    if not scores:
        return None, None
    y_pred = scores[0]
    same = [p for p in tensors if p is not y_pred and len(p.value) == len(y_pred.value)]
    classes = [p for p in same if not p.value.is_floating_point()]
    return y_pred, (classes or same or [None])[0]  # type: ignore[list-item]


def _has_a_batch(part: _Part) -> bool:
    return isinstance(part.value, Tensor) and part.value.ndim == 1 and not part.name
