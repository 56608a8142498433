"""Supervised evaluation."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn

from trainkit.engines.mixed_precision import as_float32, autocast
from trainkit.engines.output import component_name, step_output
from trainkit.engines.prepare_batch import (
    Loss,
    PrepareBatch,
    contributions_and_total,
    move_pair,
    refuse_early_end,
)
from trainkit.engines.reduction import alone, share_buffers

__all__ = ["evaluation_mode", "supervised_evaluator"]


def supervised_evaluator(
    model: nn.Module,
    loss_fn: Loss | None = None,
    *,
    device: torch.device | str,
    amp: str = "off",
    prepare_batch: PrepareBatch = move_pair,
) -> Engine:
    """An Ignite engine that evaluates: evaluation mode, no gradients, the trainer's step output.

    Every module is put back into the mode in which it was, after each batch. So is the loss, and
    what it keeps in buffers: an evaluation changes nothing of the training.

    Args:
        model: On `device`.
        loss_fn: Called with `(y_pred, y)`; None leaves `loss` and `losses` out of the output.
        device: Where the batches go.
        amp: `off`, `bf16` or `fp16`.
        prepare_batch: Called with `(batch, device)`; returns `(x, y)` on the device.

    Returns:
        An engine whose output is `loss` (0-d), `losses` (name → 0-d), `y_pred`, `y`.

    Example:
        >>> evaluator = supervised_evaluator(nn.Identity(), nn.MSELoss(), device="cpu")
        >>> _ = evaluator.run([(torch.ones(2, 1), torch.zeros(2, 1))])
        >>> evaluator.state.output["losses"]
        {'mse': tensor(1.)}
    """
    device = torch.device(device)
    precision = autocast(amp, device)
    name = component_name(loss_fn) if loss_fn is not None else ""
    # Processes may have different numbers of batches, so nothing is exchanged between batches.
    shared, model = model, alone(model)

    def evaluation_step(engine: Engine, batch: Any) -> dict[str, Any]:
        x, y = prepare_batch(batch, device)
        with torch.no_grad(), evaluation_mode(model):
            with precision:
                y_pred = model(x)
            y_pred = as_float32(y_pred)
            if loss_fn is None:
                return {"y_pred": y_pred, "y": y}
            with _unchanged(loss_fn):
                found = contributions_and_total(loss_fn, name, y_pred, y)
            return step_output(*found, y_pred, y)

    evaluator = refuse_early_end(Engine(evaluation_step))

    @evaluator.on(Events.STARTED)
    def begin() -> None:
        with torch.no_grad():
            share_buffers(shared)

    return evaluator


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Set evaluation mode; restore the mode of every module on exit."""
    modes = [(module, module.training) for module in model.modules()]
    changed = any(training for _, training in modes)
    if changed:
        model.eval()
    try:
        yield
    finally:
        if changed:
            model.train(modes[0][1])
            for module, training in modes:  # some modules may be frozen in evaluation mode
                module.training = training


@contextmanager
def _unchanged(loss_fn: Any) -> Iterator[None]:
    """The loss in evaluation mode inside; after it its mode and buffers are what they were."""
    if not isinstance(loss_fn, nn.Module):
        yield
        return
    before = [
        (module, name, buffer, buffer.clone(), buffer._version)
        for module in loss_fn.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    with evaluation_mode(loss_fn):
        try:
            yield
        finally:
            for module, name, buffer, copy, version in before:
                module._buffers[name] = buffer
                if buffer._version != version:
                    buffer.copy_(copy)
