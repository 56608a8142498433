"""Convert the output of any engine's step to one form."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

from trainkit.handlers.output.mappings import detached, of_mapping, of_samples
from trainkit.handlers.output.numbers_in import LONGEST, Number, as_number, is_number
from trainkit.handlers.output.step_output import StepOutput, UnclearOutputError, describe

__all__ = [
    "Number",
    "StepOutput",
    "UnclearOutputError",
    "as_step_output",
    "describe",
    "is_number",
]


def as_step_output(output: Any, batch: Any = None) -> StepOutput:
    """What an engine's step returned, read without its cooperation.

    - A mapping, named tuple or dataclass with any of `loss`, `losses`, `scalars`, `y_pred` and `y`
      (trainkit's contract). Without `y_pred`, tensors called `logits`, `pred`, `preds`,
      `prediction(s)`, `y_hat` or `output(s)` are predictions; without `y`, those called
      `target(s)`, `label(s)` or `y_true` are targets; without `loss`, the one number with `loss`
      in its name (or with `total` too) is the loss. Every other number is worth a chart, under
      `output/<key>`; those in a mapping or vector under `output/<key>/<its key or index>`.
    - A number, or a tensor with one element, also alone in a tuple or list: the loss.
    - `(y_pred, y)`, or `(y_pred, y, mapping)` as Ignite's metrics take it: two tensors with the
      same first dimension. Integers come second: where only the second can be class scores, the
      first is `y`.
    - `(loss, y_pred, y)` and its other orders, `(loss, y_pred)`, `(loss, mapping)`.
    - A tuple or list of at most 64 numbers, and nothing else: charts, under `output/<position>`.
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
        found = of_mapping(mapping, batch)
    elif isinstance(output, tuple | list):
        found = _of_sequence(output)
    else:
        raise _unclear(output)
    found.seen, found.batch = output, batch
    return found


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


def _of_sequence(output: tuple[Any, ...] | list[Any]) -> StepOutput:
    if not output:
        return StepOutput()
    if all(isinstance(part, Mapping) for part in output):
        return of_samples(output)
    numbers = [None if _has_a_batch(part) else as_number(part) for part in output]
    if len(output) == 1 and numbers[0] is not None:  # as Hugging Face's models return it
        return StepOutput(numbers[0])
    if all(number is not None for number in numbers) and len(numbers) <= LONGEST:
        found = {f"output/{i}": x for i, x in enumerate(numbers) if x is not None}
        return StepOutput(scalars=found)
    losses = [number for number in numbers if number is not None]
    rest = [part for part, number in zip(output, numbers, strict=True) if number is None]
    if len(output) == 2 and numbers[0] is not None:
        if isinstance(rest[0], Mapping):
            read = of_mapping(rest[0])
            if read.loss is None and not read.losses:
                read.loss = numbers[0]
            return read
        if isinstance(rest[0], Tensor) and rest[0].ndim:
            return StepOutput(numbers[0], y_pred=detached(rest[0]))
    if len(output) == 3 and isinstance(output[2], Mapping):  # Ignite's metrics take it so
        rest = rest[:2]
    if len(rest) == 2 and len(losses) <= 1:
        pair = _prediction_and_target(*rest)
        if pair is not None:
            loss = losses[0] if losses else None
            return StepOutput(loss, y_pred=detached(pair[0]), y=detached(pair[1]))
    raise _unclear(output)


def _prediction_and_target(a: Any, b: Any) -> tuple[Tensor, Tensor] | None:
    both = isinstance(a, Tensor) and isinstance(b, Tensor)
    if not both or not a.ndim or not b.ndim or a.shape[0] != b.shape[0]:
        return None
    scores = b.is_floating_point() and not a.is_floating_point() and not a.is_complex()
    return (b, a) if scores and b.ndim == a.ndim + 1 else (a, b)


def _has_a_batch(part: Any) -> bool:
    return isinstance(part, Tensor) and part.ndim == 1  # perhaps of one sample
