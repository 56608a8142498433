"""Make one step of a training, and find what produced the first value that is not finite."""

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trainkit.samples import samples_in
from trainkit.tracing.nested import tensors_in
from trainkit.tracing.origin import Origin, OriginMode, is_finite
from trainkit.tracing.places import Places
from trainkit.tracing.report import StepReport

__all__ = ["bits_of_loss", "traced_step"]


def traced_step(
    step: Callable[[], Any],
    *,
    models: Mapping[str, nn.Module],
    loss_fn: Any,
    optimizers: Mapping[str, Optimizer],
    batch: Any,
    iteration: int,
    scaled: bool = False,
) -> StepReport:
    """Make a step, and report the first value that is not finite and reached what counts.

    What counts is, in this order: the batch and the weights before the step, the loss, the
    gradients of parameters, the weights after the step. A value that is made finite again on the
    way (a masked attention) does not count.

    Args:
        step: Makes it, and returns the step output.
        models: By name; a single one is called by its own names.
        loss_fn: Of the step.
        optimizers: By name.
        batch: That the step takes.
        iteration: Of the trainer.
        scaled: A loss scaler is at work: gradients that are not finite are no fault.

    Cost: each operation reads the device twice.
    """
    single = {"": next(iter(models.values()))} if list(models) == ["model"] else models
    places = Places(single, loss_fn, optimizers)
    mode = OriginMode(places.now, samples_in(batch))
    for tensor in tensors_in(batch):
        mode.give("batch", tensor)
    named = list(_named_parameters(single, loss_fn))
    for name, tensor in (*named, *_named_buffers(single)):
        mode.give(name, tensor.detach())
    given = mode.origins[0] if mode.origins else None
    with torch.compiler.set_stance("force_eager"), places.followed(), mode:
        output = step()
    loss = output.get("loss") if isinstance(output, Mapping) else output
    first, found_in = _first(mode, loss, named, scaled)
    if first is None and given is not None:
        first, found_in = given, given.place
    return StepReport(iteration, first, found_in, tuple(places.calls), bits_of_loss(output))


def bits_of_loss(output: Any) -> str:
    """The loss of a step output as a hexadecimal number: equal only where every bit is.

    Example:
        >>> bits_of_loss({"loss": torch.tensor(1.0)})
        '3ff0000000000000'
    """
    loss = output.get("loss") if isinstance(output, Mapping) else output
    if isinstance(loss, Tensor):
        loss = float(loss.detach().double()) if loss.numel() == 1 else None
    return struct.pack(">d", loss).hex() if isinstance(loss, float) else ""


def _first(
    mode: OriginMode, loss: Any, named: list[tuple[str, nn.Parameter]], scaled: bool
) -> tuple[Origin | None, str]:
    """The earliest origin of what is not finite among loss, gradients and weights."""
    found: list[tuple[Origin, str]] = []
    if isinstance(loss, Tensor):
        origin = mode.source(loss)
        if origin is not None:
            found.append((origin, "the loss"))
    for name, parameter in named:
        gradient = parameter.grad
        if gradient is not None and not scaled and (origin := mode.source(gradient)) is not None:
            found.append((origin, f"the gradient of {name}"))
        if not is_finite(parameter.detach()):
            origin = mode.source(parameter.detach())
            if origin is not None:
                if origin.phase == "optimizer":  # it steps many parameters in one operation
                    origin = replace(origin, place=name)
                found.append((origin, f"the weights of {name}"))
    if not found:
        return None, ""
    return min(found, key=lambda each: each[0].number)


def _named_parameters(
    models: Mapping[str, nn.Module], loss_fn: Any
) -> Iterator[tuple[str, nn.Parameter]]:
    for name, model in models.items():
        for path, parameter in model.named_parameters():
            yield f"{name}.{path}" if name else path, parameter
    if isinstance(loss_fn, nn.Module):
        yield from ((f"loss.{path}", p) for path, p in loss_fn.named_parameters())


def _named_buffers(models: Mapping[str, nn.Module]) -> Iterator[tuple[str, Tensor]]:
    for name, model in models.items():
        for path, buffer in model.named_buffers():
            yield f"{name}.{path}" if name else path, buffer
