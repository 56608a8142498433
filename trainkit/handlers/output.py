"""What an engine's step returned, in one form whoever wrote the engine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any, TypeGuard

import torch
from torch import Tensor

from trainkit.samples import samples_of

__all__ = [
    "Number",
    "StepOutput",
    "UnclearOutputError",
    "as_step_output",
    "describe",
    "is_number",
    "with_loss",
]

Number = Tensor | float

_KNOWN = {"loss", "losses", "scalars", "y_pred", "y"}


class UnclearOutputError(TypeError):
    """What the step returned can be read in more than one way, or in none."""


@dataclass(eq=False, slots=True)
class StepOutput:
    """What one step returned, as far as monitors look at it; None or empty where it is missing.

    Args:
        loss: The total, 0-d.
        losses: Name → weighted contribution, 0-d each; they add up to `loss`.
        scalars: Tag → 0-d value: whatever else the step found worth a chart.
        y_pred: Predictions, first dimension the batch.
        y: Targets, first dimension the batch.
    """

    loss: Number | None = None
    losses: Mapping[str, Number] = field(default_factory=dict)
    scalars: Mapping[str, Number] = field(default_factory=dict)
    y_pred: Any = None
    y: Any = None

    @property
    def batch_size(self) -> int:
        """Samples in the batch, from `y`, or else `y_pred`; 1 where neither tells."""
        return samples_of(self.y_pred, self.y)


def as_step_output(output: Any) -> StepOutput:
    """What an engine's step returned, read without its cooperation.

    - A mapping with any of `loss`, `losses`, `scalars`, `y_pred` and `y` (trainkit's contract);
      every other number in it is worth a chart, under `output/<key>`.
    - A number, or a tensor with one element: the loss.
    - `(y_pred, y)`, or `(y_pred, y, anything)` as Ignite's metrics take it: two tensors with the
      same first dimension, in that order.
    - A tuple or list of nothing but numbers: charts, under `output/<position>`.
    - None: nothing.

    Args:
        output: `engine.state.output`, or what an `output_transform` made of it.

    Raises:
        UnclearOutputError: It is none of these; the message says which `output_transform` helps.

    Example:
        >>> import torch
        >>> as_step_output(0.5).loss
        0.5
        >>> as_step_output({"batch loss": 0.5}).scalars
        {'output/batch loss': 0.5}
        >>> as_step_output((torch.zeros(8, 10), torch.zeros(8))).batch_size
        8
    """
    if isinstance(output, StepOutput):
        return output
    if output is None:
        return StepOutput()
    if is_number(output):
        return StepOutput(loss=_scalar(output))
    if isinstance(output, tuple) and hasattr(output, "_asdict"):
        output = output._asdict()
    if isinstance(output, Mapping):
        return _of_mapping(output)
    if isinstance(output, tuple | list):
        if all(is_number(part) and not _has_a_batch(part) for part in output):
            return StepOutput(
                scalars={f"output/{i}": _scalar(part) for i, part in enumerate(output)}
            )
        if _is_prediction_and_target(output):
            return StepOutput(y_pred=output[0], y=output[1])
    raise UnclearOutputError(
        f"the engine's output is not clear: {describe(output)}; pass an output_transform that "
        "returns a dict, e.g. output_transform=lambda output: "
        '{"loss": output[0], "y_pred": output[1], "y": output[2]}'
    )


def with_loss(
    loss_fn: Callable[..., Any], output_transform: Callable[[Any], Any] | None = None
) -> Callable[[Any], StepOutput]:
    """An `output_transform` that computes the loss where the step did not return it.

    Args:
        loss_fn: Called with `(y_pred, y)` without gradients; returns a number, or a mapping from
            name to weighted contribution.
        output_transform: Applied first.

    Raises:
        UnclearOutputError: In the function that is returned, where the loss cannot be called so.

    Example:
        >>> import torch
        >>> read = with_loss(torch.nn.functional.mse_loss)
        >>> read((torch.tensor([1.0]), torch.tensor([3.0]))).loss
        tensor(4.)
    """

    def read(output: Any) -> StepOutput:
        found = as_step_output(output if output_transform is None else output_transform(output))
        if found.loss is not None or found.y_pred is None or found.y is None:
            return found
        try:
            with torch.no_grad():
                value = loss_fn(found.y_pred, found.y)
        except Exception as error:
            raise UnclearOutputError(
                f"the output has no loss, and loss_fn does not take its {describe(found.y_pred)} "
                f"and {describe(found.y)} ({type(error).__name__}: {error}); return the loss too, "
                "in a dict with 'loss'"
            ) from error
        losses = _numbers(value)
        loss = sum(losses.values()) if losses else value
        return replace(found, loss=loss if is_number(loss) else None, losses=losses)

    return read


def is_number(value: Any) -> TypeGuard[Number]:
    """Whether this is one real number: a Python or NumPy one, or a tensor of one element."""
    if isinstance(value, Tensor):
        return value.numel() == 1 and value.ndim <= 1 and not value.is_complex()
    return isinstance(value, Real) and not isinstance(value, bool)


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


def _scalar(value: Number) -> Number:
    # Most are detached and 0-d already, and a launch is felt.
    if isinstance(value, Tensor):
        if value.requires_grad:
            value = value.detach()
        if value.ndim:
            value = value.reshape(())
    return value


def _numbers(values: Any, prefix: str = "") -> dict[str, Number]:
    if not isinstance(values, Mapping):
        return {}
    return {f"{prefix}{k}": _scalar(v) for k, v in values.items() if is_number(v)}


def _of_mapping(output: Mapping[Any, Any]) -> StepOutput:
    loss, losses = output.get("loss"), _numbers(output.get("losses"))
    if isinstance(loss, Mapping):  # components under the name of the total
        losses, loss = losses | _numbers(loss), None
    total: Number | None = _scalar(loss) if is_number(loss) else None
    if total is None and losses:
        total = sum(losses.values())
    scalars = _numbers(output.get("scalars"))
    if not output.keys() <= _KNOWN:
        others = {key: value for key, value in output.items() if key not in _KNOWN}
        scalars |= _numbers(others, "output/")
    return StepOutput(
        total, losses, scalars, _detached(output.get("y_pred")), _detached(output.get("y"))
    )


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) and value.requires_grad else value


def _has_a_batch(part: Number) -> bool:
    return isinstance(part, Tensor) and part.ndim == 1  # perhaps of one sample


def _is_prediction_and_target(output: tuple[Any, ...] | list[Any]) -> bool:
    if len(output) not in (2, 3):
        return False
    y_pred, y = output[:2]
    if len(output) == 3 and not isinstance(output[2], Mapping):
        return False
    both = isinstance(y_pred, Tensor) and isinstance(y, Tensor)
    return both and y_pred.ndim > 0 and y.ndim > 0 and y_pred.shape[0] == y.shape[0]
