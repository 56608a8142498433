"""What an engine does with a batch before the model, and with the predictions after it."""

import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from ignite.engine import Engine, Events
from ignite.utils import convert_tensor
from torch import Tensor

from trainkit.data import ended_early, length_of
from trainkit.losses import LossError

__all__ = ["Loss", "PrepareBatch", "contributions_and_total", "move_pair", "refuse_early_end"]

Loss: TypeAlias = Callable[[Any, Any], Tensor | Mapping[str, Any]]
PrepareBatch: TypeAlias = Callable[[Any, torch.device], tuple[Any, Any]]


def move_pair(batch: Any, device: torch.device) -> tuple[Any, Any]:
    """The batch `(x, y)` on the device.

    Raises:
        TypeError: The batch is not a pair.
    """
    if not (isinstance(batch, list | tuple) and len(batch) == 2):
        raise TypeError(
            f"a batch must be a pair (x, y), got {type(batch).__name__}"
            f"{f' of length {len(batch)}' if isinstance(batch, list | tuple) else ''}; "
            "other batches need a prepare_batch"
        )
    x, y = batch
    return (
        convert_tensor(x, device=device, non_blocking=True),
        convert_tensor(y, device=device, non_blocking=True),
    )


def refuse_early_end(engine: Engine) -> Engine:
    """Make it an error when the engine's data end before their own length.

    Ignite would start them again in the middle of an epoch, and say nothing; data whose every
    pass ends early, or in which an item raises `StopIteration`, would never be seen to their end.
    An `epoch_length` that is not that of the data is no matter of theirs.

    Raises:
        EndedEarlyError: In the run, at that batch.
    """
    started = 0

    def start(engine: Engine) -> None:
        nonlocal started
        started = engine.state.iteration

    def look(engine: Engine) -> None:
        nonlocal started
        drawn, started = engine.state.iteration - started, engine.state.iteration
        length = length_of(engine.state.dataloader)
        if length is not None and drawn < length:
            raise ended_early("the data", drawn, length, sys.exc_info()[1])

    engine.add_event_handler(Events.STARTED, start)
    engine.add_event_handler(Events.DATALOADER_STOP_ITERATION, look)
    return engine


def contributions_and_total(
    loss_fn: Loss, name: str, y_pred: Any, y: Any
) -> tuple[Mapping[str, Tensor], Tensor]:
    """The contributions of the components, and their sum; of a plain loss one called `name`.

    Components may be nested: those of `{"a": {"x": ...}}` are called `a/x`.

    Raises:
        LossError: There is no component, or one is not 0-d or has the name `total`.
    """
    value = loss_fn(y_pred, y)
    if isinstance(value, Tensor) and value.numel() == 1:  # so it is nearly always
        total = value.reshape(()) if value.ndim else value
        return {name: total}, total
    contributions: dict[str, Tensor] = {}
    _flatten(value if isinstance(value, Mapping) else {name: value}, "", contributions)
    parts = iter(contributions.values())
    first = next(parts, None)
    if first is None:
        raise LossError(f"a loss must have at least one component, got {value!r}")
    total = first
    for part in parts:
        total = total + part
    return contributions, total


def _flatten(values: Mapping[str, Any], prefix: str, found: dict[str, Tensor]) -> None:
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            _flatten(value, f"{name}/", found)
            continue
        if not isinstance(value, Tensor):
            raise LossError(f"the loss component {name!r} must be a 0-d tensor, got {value!r:.60}")
        if value.numel() != 1 or value.is_complex():
            raise LossError(
                f"the loss component {name!r} must be one number (a 0-d tensor), got a tensor of "
                f"shape {list(value.shape)}; return its mean or sum"
            )
        if name == "total" or name in found or not name:
            raise LossError(
                f"a loss component needs a name of its own that is not 'total', got {name!r}: the "
                "components are added up, and loss/total is their sum"
            )
        found[name] = value.reshape(()) if value.ndim else value
