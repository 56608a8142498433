"""What an engine's step returned, in one form whoever wrote the engine."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from typing import Any

import torch
from torch import Tensor

from trainkit.handlers.hints import transform_for
from trainkit.handlers.numbers_in import Number, as_number, is_number, is_ordinary, numbers_in
from trainkit.samples import samples_in
from trainkit.stats.readable import UnreadableError, plain

__all__ = [
    "Number",
    "StepOutput",
    "UnclearOutputError",
    "as_step_output",
    "describe",
    "is_number",
]

_KNOWN = {"loss", "losses", "scalars", "y_pred", "y"}
_OWN = {name: name for name in sorted(_KNOWN)}

# Names under which people return predictions and targets; the first that is there is taken.
_Y_PRED = ("y_pred", "logits", "pred", "preds", "prediction", "predictions", "predicted", "y_hat",
           "yhat", "output", "outputs")  # fmt: skip
_Y = ("y", "target", "targets", "label", "labels", "y_true")

_NO_LOSS = re.compile(r"scale|weight|factor|coef|name|best|lossless")


class UnclearOutputError(TypeError):
    """What the step returned can be read in more than one way, or in none.

    Args:
        found: What was found.
        output: What the step returned.
    """

    def __init__(self, found: str, output: Any) -> None:
        self.found = found
        transform = transform_for(output)
        hint = "" if transform is None else f", or pass output_transform={transform}"
        super().__init__(f"{found}; return a dict with 'loss', 'y_pred' and 'y'{hint}")


@dataclass(eq=False, slots=True)
class StepOutput:
    """What one step returned, as far as monitors look at it; None or empty where it is missing.

    Args:
        loss: The total, 0-d.
        losses: Name → weighted contribution, 0-d each; they add up to `loss`.
        scalars: Tag → 0-d value: whatever else the step found worth a chart.
        y_pred: Predictions, first dimension the batch.
        y: Targets, first dimension the batch.
        left_out: What is in the output and is not written → why.
        batch: What the step was given, where that is known.
        seen: What the step returned.
        by_sample: Whether `y_pred` and `y` are lists with those of each sample.
    """

    loss: Number | None = None
    losses: dict[str, Number] = field(default_factory=dict)
    scalars: dict[str, Number] = field(default_factory=dict)
    y_pred: Any = None
    y: Any = None
    left_out: dict[str, str] = field(default_factory=dict)
    batch: Any = None
    seen: Any = None
    by_sample: bool = False

    @property
    def batch_size(self) -> int:
        """Samples in the batch, from `y`, `y_pred`, `batch` or what else the step returned.

        1 where none of them tells.
        """
        for part in (self.y, self.y_pred, self.batch, self.seen):
            found = samples_in(part)
            if found is not None:
                return found
        return 1

    def pair(self) -> tuple[Any, Any]:
        """`y_pred` and `y`, first dimension the batch: those of single samples are stacked.

        None in place of a tensor whose numbers cannot be had; `left_out` then says why.
        """
        if self.by_sample:
            self.by_sample = False
            self.y_pred = _stacked(self.y_pred)
            self.y = _stacked(self.y, self.y_pred)
        return self._readable("y_pred"), self._readable("y")

    def _readable(self, name: str) -> Any:
        value = getattr(self, name)
        if not isinstance(value, Tensor) or is_ordinary(value):
            return value
        try:
            return plain(value)
        except (UnreadableError, RuntimeError, NotImplementedError) as error:
            self.left_out[name] = str(error)
            return None


def as_step_output(output: Any, batch: Any = None) -> StepOutput:
    """What an engine's step returned, read without its cooperation.

    - A mapping, named tuple or dataclass with any of `loss`, `losses`, `scalars`, `y_pred` and `y`
      (trainkit's contract). Without `y_pred`, tensors called `logits`, `pred`, `preds`,
      `prediction(s)`, `y_hat` or `output(s)` are predictions; without `y`, those called
      `target(s)`, `label(s)` or `y_true` are targets; without `loss`, the one number with `loss`
      in its name (or with `total` too) is the loss. Every other number is worth a chart, under
      `output/<key>`; those in a mapping or vector under `output/<key>/<its key or index>`.
    - A number, or a tensor with one element: the loss.
    - `(y_pred, y)`, or `(y_pred, y, mapping)` as Ignite's metrics take it: two tensors with the
      same first dimension. Integers come second: where only the second can be class scores, the
      first is `y`.
    - `(loss, y_pred, y)` and its other orders, `(loss, y_pred)`, `(loss, mapping)`.
    - A tuple or list of nothing but numbers: charts, under `output/<position>`.
    - A list of such mappings, one per sample (MONAI decollates): lists of predictions and targets.
    - None: nothing.

    Components (`losses`, or a mapping under `loss`) may be nested: `a/x`. A component is one
    number. One that is not (its elements get charts), or is called `total`, is no part of the sum:
    where there is no `loss` beside it, the total is left out.

    Args:
        output: `engine.state.output`, or what an `output_transform` made of it.
        batch: `engine.state.batch`. A vector with a number for each of its samples gets no charts.

    Raises:
        UnclearOutputError: It is none of these; the message says what to return.

    Example:
        >>> import torch
        >>> as_step_output(0.5).loss
        0.5
        >>> found = as_step_output({"batch loss": 0.5, "accuracy": 0.25})
        >>> found.loss, found.scalars
        (0.5, {'output/accuracy': 0.25})
        >>> as_step_output({"losses": {"a": {"x": 1.0}, "b": 3.0}}).loss
        4.0
        >>> as_step_output((torch.zeros(8, 10), torch.zeros(8))).batch_size
        8
    """
    if isinstance(output, StepOutput):
        return output
    if output is None:
        return StepOutput(batch=batch)
    number = as_number(output)
    if number is not None:
        return StepOutput(loss=number, seen=output, batch=batch)
    mapping = _as_mapping(output)
    if mapping is not None:
        found = _of_mapping(mapping, batch)
    elif isinstance(output, tuple | list):
        found = _of_sequence(output)
    else:
        raise _unclear(output)
    found.seen, found.batch = output, batch
    return found


def describe(value: Any) -> str:
    """The kinds and shapes of what is in a value, on one short line."""
    if isinstance(value, Tensor):
        return f"Tensor{list(value.shape)}"
    if isinstance(value, tuple | list):
        inside = ", ".join(describe(part) for part in value[:6])
        return f"{type(value).__name__}({inside}{', ...' if len(value) > 6 else ''})"
    if isinstance(value, Mapping):
        inside = ", ".join(map(str, list(value)[:6]))
        return f"{type(value).__name__} with {inside or 'nothing'}"
    return type(value).__name__


def _unclear(output: Any) -> UnclearOutputError:
    return UnclearOutputError(f"the engine's output is not clear: {describe(output)}", output)


def _as_mapping(output: Any) -> Mapping[Any, Any] | None:
    if isinstance(output, Mapping):
        return output
    if isinstance(output, tuple) and hasattr(output, "_asdict"):
        found: Mapping[Any, Any] = output._asdict()
        return found
    if is_dataclass(output) and not isinstance(output, type):
        return {one.name: getattr(output, one.name) for one in fields(output)}
    return None


def _of_mapping(output: Mapping[Any, Any], batch: Any = None) -> StepOutput:
    if output.keys() <= _KNOWN:  # as trainkit's own engines return it
        keys: Mapping[str, Any] = _OWN
        others: list[Any] = []
    else:
        keys = _keys(output)
        used = set(keys.values())
        others = [key for key in output if key not in used]
    y_pred, y = (_detached(output.get(keys.get(name, name))) for name in ("y_pred", "y"))
    found = StepOutput(y_pred=y_pred, y=y)
    _read_loss(output.get(keys.get("loss", "loss")), output.get("losses"), found)
    if output.get("scalars") is not None:
        for tag, value in _items(output["scalars"]):
            _add_scalars(tag, value, found)
    for key in others:
        value = output[key]
        if isinstance(value, Tensor) and value.ndim == 1 and _is_by_sample(value, output, batch):
            continue
        _add_scalars(f"output/{_name(key)}", value, found)
    return found


def _read_loss(loss: Any, components: Any, found: StepOutput) -> None:
    """Take in the total and its components."""
    complete = True
    if loss is None and as_number(components) is not None:
        loss, components = components, None
    if components is not None:
        complete = _add_components(components, found)
    if isinstance(loss, Mapping):  # components under the name of the total
        complete &= _add_components(loss, found)
        loss = None
    found.loss = as_number(loss)
    if found.loss is not None:
        return
    if loss is not None:
        found.left_out["loss/total"] = (
            f"the loss must be one number, got {describe(loss)}; return its mean"
        )
    elif not complete:
        why = "its components do not add up; return the total as 'loss'"
        found.left_out["loss/total"] = why
    elif found.losses:
        found.loss = sum(found.losses.values())


def _keys(output: Mapping[Any, Any], of_sample: bool = False) -> dict[str, Any]:
    """Which key of the output holds `loss`, `losses`, `scalars`, `y_pred` and `y`."""
    fits = _is_of_sample if of_sample else _is_batch
    found = {name: name for name in _KNOWN if name in output}
    names = {_name(key).lower().replace(" ", "_").replace("-", "_"): key for key in output}
    for name, others in (("y_pred", _Y_PRED), ("y", _Y)):
        if name not in found:
            for other in others:
                if other in names and fits(output[names[other]]):
                    found[name] = names[other]
                    break
    if "loss" not in found and "losses" not in found:
        losses = [
            key
            for name, key in names.items()
            if "loss" in name and not _NO_LOSS.search(name) and is_number(output[key])
        ]
        if len(losses) > 1:
            losses = [key for key in losses if "total" in _name(key).lower()]
        if len(losses) == 1:
            found["loss"] = losses[0]
    return found


def _name(key: Any) -> str:
    return str(key.value if isinstance(key, Enum) else key)


def _is_batch(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(item, Tensor) for item in value)
    return isinstance(value, Tensor) and value.ndim > 0


def _is_of_sample(value: Any) -> bool:
    return isinstance(value, Tensor | int | float)


def _is_by_sample(value: Tensor, output: Mapping[Any, Any], batch: Any) -> bool:
    """Whether a vector has a number for each sample: as many as the batch, or another tensor."""
    return len(value) > 1 and len(value) in (samples_in(batch), *map(_rows, output.values()))


def _rows(value: Any) -> int | None:
    return len(value) if isinstance(value, Tensor) and value.ndim > 1 else None


def _items(values: Any) -> list[tuple[str, Any]]:
    if isinstance(values, Mapping):
        return [(_name(key), value) for key, value in values.items()]
    if isinstance(values, list | tuple):
        return [(str(i), value) for i, value in enumerate(values)]
    return [("", values)]


def _add_components(values: Any, found: StepOutput, prefix: str = "") -> bool:
    """Add the components in `values`; whether they are all of them."""
    complete = True
    for key, value in _items(values):
        name = f"{prefix}{key}"
        number = as_number(value)
        if name == "total":
            found.left_out["loss component 'total'"] = (
                "loss/total is the sum of all components; give this one another name"
            )
            complete = False
        elif number is not None and name and name not in found.losses:
            found.losses[name] = number
        elif isinstance(value, Mapping):
            complete &= _add_components(value, found, f"{name}/")
        elif value is not None:
            complete = False
            found.left_out[f"loss component '{name}'"] = (
                f"a component is one number of a name of its own, got {describe(value)}; "
                "return its mean or sum"
            )
            if number is None:
                drawn = numbers_in(f"loss/{name}", value)
                found.scalars.update((tag, x) for tag, x in drawn if x is not None)
    return complete


def _add_scalars(tag: str, value: Any, found: StepOutput) -> None:
    for name, number in numbers_in(tag, value):
        if number is None or name in found.scalars:
            why = f"a {type(value).__name__} like it cannot be drawn; return a number"
            found.left_out[name] = why
        else:
            found.scalars[name] = number


def _of_sequence(output: tuple[Any, ...] | list[Any]) -> StepOutput:
    if not output:
        return StepOutput()
    if all(isinstance(part, Mapping) for part in output):
        return _of_samples(output)
    numbers = [None if _has_a_batch(part) else as_number(part) for part in output]
    if all(number is not None for number in numbers):
        found = {f"output/{i}": x for i, x in enumerate(numbers) if x is not None}
        return StepOutput(scalars=found)
    losses = [number for number in numbers if number is not None]
    rest = [part for part, number in zip(output, numbers, strict=True) if number is None]
    if len(output) == 2 and numbers[0] is not None:
        if isinstance(rest[0], Mapping):
            read = _of_mapping(rest[0])
            if read.loss is None and not read.losses:
                read.loss = numbers[0]
            return read
        if isinstance(rest[0], Tensor) and rest[0].ndim:
            return StepOutput(numbers[0], y_pred=_detached(rest[0]))
    if len(output) == 3 and isinstance(output[2], Mapping):  # Ignite's metrics take it so
        rest = rest[:2]
    if len(rest) == 2 and len(losses) <= 1:
        pair = _prediction_and_target(*rest)
        if pair is not None:
            loss = losses[0] if losses else None
            return StepOutput(loss, y_pred=_detached(pair[0]), y=_detached(pair[1]))
    raise _unclear(output)


def _prediction_and_target(a: Any, b: Any) -> tuple[Tensor, Tensor] | None:
    both = isinstance(a, Tensor) and isinstance(b, Tensor)
    if not both or not a.ndim or not b.ndim or a.shape[0] != b.shape[0]:
        return None
    scores = b.is_floating_point() and not a.is_floating_point() and not a.is_complex()
    return (b, a) if scores and b.ndim == a.ndim + 1 else (a, b)


def _of_samples(output: tuple[Any, ...] | list[Any]) -> StepOutput:
    """Of one mapping per sample: lists of predictions and targets, and the mean of the losses."""
    keys = _keys(output[0], of_sample=True)
    found: dict[str, Any] = {}
    for name in ("y_pred", "y", "loss"):
        key = keys.get(name)
        if key is not None and all(key in sample for sample in output):
            found[name] = [_detached(sample[key]) for sample in output]
    losses = [number for number in map(as_number, found.pop("loss", ())) if number is not None]
    loss: Number | None = losses[0] if losses else None
    if len(losses) > 1 and len(losses) == len(output):
        if all(isinstance(one, Tensor) for one in losses):
            loss = torch.stack(losses).mean()  # type: ignore[arg-type]  # tensors, all of them
        else:
            loss = sum(losses) / len(losses)
    return StepOutput(loss, **found, by_sample=True)


def _stacked(value: Any, beside: Any = None) -> Any:
    """Those of single samples as one tensor, if they have one shape; anything else as it is."""
    if not isinstance(value, list):
        return value
    if all(isinstance(item, Tensor) for item in value):
        if not value or len({(item.shape, item.dtype) for item in value}) > 1:
            return value
        # A subclass may bring along much more than numbers (MONAI's does).
        return torch.stack([item.as_subclass(Tensor) for item in value])
    if all(isinstance(item, int | float) for item in value):
        return torch.tensor(value, device=beside.device if isinstance(beside, Tensor) else None)
    return value


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) and value.requires_grad else value


def _has_a_batch(part: Any) -> bool:
    return isinstance(part, Tensor) and part.ndim == 1  # perhaps of one sample
