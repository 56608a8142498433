"""Suggest an `output_transform`, built from the actual output of an engine's step."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import Any

from torch import Tensor

from trainkit.handlers.output.numbers_in import as_number

__all__ = ["NO_LOSS", "several_losses", "transform_for"]

#: A number with `loss` and one of these in its name is no loss.
NO_LOSS = re.compile(r"scale|weight|factor|coef|name|best|lossless")

_LOSSES = ("loss", "err", "cost", "nll", "objective", "elbo")
_NO_LOSSES = ("acc", "score", "metric", "lr", "time", "norm", "step", "epoch")
# Only what has such a name is taken for predictions or targets: fakes and reals are neither.
_Y_PRED = re.compile(r"pred|logit|score|prob|hat$|^out|recon|^(z|p|yp)$|forecast|estimate")
_Y = re.compile(r"target|label|true|truth|^gt|^(y|t)(/|$)|^y_(?!pred|hat)|class|expected|answer")


@dataclass(frozen=True)
class _Part:
    expression: str
    name: str
    value: Any


def transform_for(output: Any, wanted: tuple[str, ...] = ("loss", "y_pred", "y")) -> str | None:
    """A function, as source text, that makes of this output a dict that monitors understand.

    It can be pasted and works. Which entry is meant is a guess, by names, kinds and shapes; what
    has a name is taken for predictions or targets only if people call them so. Several losses
    without a total become components.

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
    losses = _losses(parts)
    y_pred, y = _pair(parts)
    found = {"loss": losses[0] if len(losses) == 1 else None, "y_pred": y_pred, "y": y}
    entries = [f"{n!r}: {part.expression}" for n in wanted if (part := found[n]) is not None]
    if "loss" in wanted and len(losses) > 1:
        inside = [f"{part.name.removeprefix('loss/')!r}: {part.expression}" for part in losses]
        entries.insert(0, f"'losses': {{{', '.join(inside)}}}")
    if not entries:
        return None
    if isinstance(output, Mapping):
        entries.insert(0, "**output")
    return f"lambda output: {{{', '.join(entries)}}}"


def several_losses(output: Any) -> list[str]:
    """The names of the losses in an output that has several and no total; else none.

    Example:
        >>> several_losses({"errD": 0.5, "errG": 1.5, "acc": 1.0})
        ['errD', 'errG']
    """
    losses = _losses(_parts(output))
    return [part.name for part in losses] if len(losses) > 1 else []


def _parts(output: Any) -> list[_Part]:
    if isinstance(output, Mapping):
        keys = [(key.value if isinstance(key, Enum) else key, key) for key in output]
        parts = [_Part(f"output[{name!r}]", str(name), output[key]) for name, key in keys]
        return parts + [head for part in parts for head in _heads(part)]
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


def _heads(part: _Part) -> Iterator[_Part]:
    """The tensors in a mapping, one for each head of a network."""
    if isinstance(part.value, Mapping):
        for key, value in part.value.items():
            if isinstance(key, str) and isinstance(value, Tensor) and value.ndim:
                yield _Part(f"{part.expression}[{key!r}]", f"{part.name}/{key}", value)


def _losses(parts: list[_Part]) -> list[_Part]:
    """What may be the loss; of several, none is the total."""
    numbers = [
        p for p in parts
        if as_number(p.value) is not None and not _has_a_batch(p) and not NO_LOSS.search(_word(p))
    ]  # fmt: skip
    for likely in _LOSSES:
        found = [p for p in numbers if likely in _word(p)]
        total = [p for p in found if _word(p) == likely] or [
            p for p in found if "total" in _word(p)
        ]
        if found:
            return total[:1] or found
    rest = [p for p in numbers if not any(no in _word(p) for no in _NO_LOSSES)]
    return rest[:1] if len(rest) == 1 or not all(p.name for p in rest) else []


def _pair(parts: list[_Part]) -> tuple[_Part | None, _Part | None]:
    """What may be predictions and targets."""
    tensors = [p for p in parts if isinstance(p.value, Tensor) and p.value.ndim]
    if len(tensors) > 2 and not tensors[0].name:  # `(x, y, y_pred)` and its like
        tensors = tensors[1:]
    scores = [p for p in tensors if p.value.is_floating_point() and _is_called(p, _Y_PRED)]
    if not scores:
        return None, None
    y_pred = scores[0]
    same = [
        p for p in tensors
        if p is not y_pred and len(p.value) == len(y_pred.value) and _is_called(p, _Y)
    ]  # fmt: skip
    classes = [p for p in same if not p.value.is_floating_point()]
    return y_pred, (classes or same or [None])[0]  # type: ignore[list-item]


def _word(part: _Part) -> str:
    return part.name.lower().replace(" ", "_")


def _is_called(part: _Part, like: re.Pattern[str]) -> bool:
    return not part.name or (like.search(_word(part)) is not None and "loss" not in _word(part))


def _has_a_batch(part: _Part) -> bool:
    return isinstance(part.value, Tensor) and part.value.ndim == 1 and not part.name
