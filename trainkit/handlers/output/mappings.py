"""Find loss, predictions and targets in a mapping, by the names of its keys."""

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

import torch
from torch import Tensor

from trainkit.handlers.output.numbers_in import Number, as_number, numbers_in
from trainkit.handlers.output.step_output import StepOutput, describe
from trainkit.handlers.output.transform_hint import NO_LOSS
from trainkit.samples import samples_in

__all__ = ["detached", "of_mapping", "of_samples", "targets_in"]

_KNOWN = {"loss", "losses", "scalars", "y_pred", "y"}
_OWN = {name: name for name in sorted(_KNOWN)}

# Names under which people return predictions and targets; the first that is there is taken.
_Y_PRED = ("y_pred", "logits", "pred", "preds", "prediction", "predictions", "predicted", "y_hat",
           "yhat", "output", "outputs")  # fmt: skip
_Y = ("y", "target", "targets", "label", "labels", "y_true")


def of_mapping(output: Mapping[Any, Any], batch: Any = None) -> StepOutput:
    """What is in a mapping; `batch` tells which vectors have a number for each sample."""
    if output.keys() <= _KNOWN:  # as trainkit's own engines return it
        keys: Mapping[str, Any] = _OWN
        others: list[Any] = []
    else:
        keys = _keys(output)
        used = set(keys.values())
        others = [key for key in output if key not in used]
    y_pred, y = (detached(output.get(keys.get(name, name))) for name in ("y_pred", "y"))
    found = StepOutput(y_pred=y_pred, y=y)
    _read_loss(output.get(keys.get("loss", "loss")), output.get("losses"), found)
    if output.get("scalars") is not None:
        for tag, value in _items(output["scalars"]):
            _add_scalars(tag, value, found)
    if others:
        lengths = {samples_in(batch), *_rows(output)}
        for key in others:
            value = _without_samples(output[key], lengths)
            _add_scalars(f"output/{_name(key)}", value, found)
    return found


def targets_in(batch: Any) -> Tensor | None:
    """The targets in a batch, `(x, y)` or a mapping with one of their names; None without any.

    Example:
        >>> targets_in({"input_ids": torch.ones(2, 3), "labels": torch.tensor([1, 0])})
        tensor([1, 0])
    """
    y: Any = None
    if isinstance(batch, Mapping):
        y = batch.get(_keys(batch).get("y", "y"))
    elif isinstance(batch, tuple | list) and len(batch) == 2:
        y = batch[1]
    return detached(y) if isinstance(y, Tensor) and y.ndim else None


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
            if "loss" in name and not NO_LOSS.search(name) and as_number(output[key]) is not None
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


def _without_samples(value: Any, lengths: set[int | None]) -> Any:
    """A value without the vectors, inside mappings too, that have a number for each sample."""
    if isinstance(value, Tensor) and value.ndim == 1:
        return None if len(value) > 1 and len(value) in lengths else value
    if isinstance(value, Mapping) and any(isinstance(x, Tensor | Mapping) for x in value.values()):
        return {key: _without_samples(x, lengths) for key, x in value.items()}
    return value


def _rows(value: Any) -> Iterator[int]:
    """How long the tensors are that have more than one dimension."""
    if isinstance(value, Tensor):
        if value.ndim > 1:
            yield len(value)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _rows(item)


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


def of_samples(output: tuple[Any, ...] | list[Any]) -> StepOutput:
    """Of one mapping per sample: lists of predictions and targets, and the mean of the losses."""
    keys = _keys(output[0], of_sample=True)
    found: dict[str, Any] = {}
    for name in ("y_pred", "y", "loss"):
        key = keys.get(name)
        if key is not None and all(key in sample for sample in output):
            found[name] = [detached(sample[key]) for sample in output]
    losses = [number for number in map(as_number, found.pop("loss", ())) if number is not None]
    loss: Number | None = losses[0] if losses else None
    if len(losses) > 1 and len(losses) == len(output):
        if all(isinstance(one, Tensor) for one in losses):
            loss = torch.stack(losses).mean()  # type: ignore[arg-type]  # tensors, all of them
        else:
            loss = sum(losses) / len(losses)
    return StepOutput(loss, **found, by_sample=True)


def detached(value: Any) -> Any:
    """A tensor without its graph; anything else as it is."""
    return value.detach() if isinstance(value, Tensor) and value.requires_grad else value
