"""Supervised training."""

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from itertools import chain
from typing import Any

import torch
from ignite.engine import Engine
from torch import Tensor, nn
from torch.optim import Optimizer

from trainkit.engines.accumulation import Accumulation
from trainkit.engines.engines import Engines
from trainkit.engines.evaluation import supervised_evaluator
from trainkit.engines.mixed_precision import as_float32, autocast, loss_scaler
from trainkit.engines.output import component_name, step_output
from trainkit.engines.prepare_batch import (
    Loss,
    PrepareBatch,
    contributions_and_total,
    move_pair,
    refuse_early_end,
)
from trainkit.engines.reduction import alone, without_reduction
from trainkit.samples import samples_of

__all__ = ["supervised_engines", "supervised_trainer"]


def supervised_trainer(
    model: nn.Module,
    optimizer: Optimizer | Mapping[str, Optimizer],
    loss_fn: Loss,
    *,
    device: torch.device | str,
    clip_grad_norm: float | None = None,
    clip_grad_value: float | None = None,
    accumulation_steps: int | Accumulation = 1,
    amp: str = "off",
    skip_non_finite: bool = False,
    scaler: torch.amp.GradScaler | None = None,
    prepare_batch: PrepareBatch = move_pair,
) -> Engine:
    """An Ignite engine whose iteration trains on one micro-batch.

    Nothing in an iteration reads the device, but for the loss scaler of `fp16`, which has to know
    whether to skip the step. Gradients stay as they are after the step, until the next cycle
    begins. The model is put into training mode where it is not; parts of a model in training mode
    that were put into evaluation mode on purpose stay so. With mixed precision the forward runs
    under autocast, the loss in float32.

    Args:
        model: On `device`; may be compiled or wrapped in `DistributedDataParallel`.
        optimizer: One or several over the parameters of the model; several step together.
        loss_fn: Called with `(y_pred, y)`; returns the loss, 0-d, or name → contribution.
        device: Where the batches go.
        clip_grad_norm: Global norm, over all parameters of all the optimizers.
        clip_grad_value: Limit of every gradient element; applied before `clip_grad_norm`.
        accumulation_steps: Micro-batches per optimizer step: see `Accumulation`.
        amp: `off`, `bf16` or `fp16`.
        skip_non_finite: Leave out optimizer steps with gradients that are not finite; reads the
            device in each step.
        scaler: Loss scaler; by default one for `fp16`. It stands in `engine.state.scaler`.
        prepare_batch: Called with `(batch, device)`; returns `(x, y)` on the device.

    Returns:
        An engine whose output is `loss` (0-d), `losses` (name → 0-d), `y_pred`, `y`, detached.

    Raises:
        ValueError: A value out of range.

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.zeros_(model.weight)
        >>> sgd = torch.optim.SGD(model.parameters(), lr=0.25)
        >>> trainer = supervised_trainer(model, sgd, nn.MSELoss(), device="cpu")
        >>> _ = trainer.run([(torch.ones(2, 1), torch.ones(2, 1))])
        >>> trainer.state.output["loss"], model.weight.item()
        (tensor(1.), 0.5)
    """
    for key, value in (("clip_grad_norm", clip_grad_norm), ("clip_grad_value", clip_grad_value)):
        if value is not None and not value > 0:
            raise ValueError(f"{key} must be greater than 0, got {value}")
    device = torch.device(device)
    precision = autocast(amp, device)
    scaler = loss_scaler(amp, device) if scaler is None else scaler
    optimizers = [optimizer] if isinstance(optimizer, Optimizer) else list(optimizer.values())
    accumulation = (
        accumulation_steps
        if isinstance(accumulation_steps, Accumulation)
        else Accumulation(accumulation_steps)
    )
    name = component_name(loss_fn)

    def parameters() -> Iterator[Tensor]:
        groups = chain.from_iterable(o.param_groups for o in optimizers)
        return chain.from_iterable(group["params"] for group in groups)

    def update() -> None:
        if scaler is not None:
            for each in optimizers:
                scaler.unscale_(each)
        if clip_grad_value is not None:
            nn.utils.clip_grad_value_(parameters(), clip_grad_value)
        if clip_grad_norm is not None:
            nn.utils.clip_grad_norm_(parameters(), clip_grad_norm)
        if skip_non_finite and scaler is None and not _all_finite(parameters()):
            return
        for each in optimizers:
            if scaler is None:
                each.step()
            else:
                scaler.step(each)
        if scaler is not None:
            scaler.update()

    def train_step(engine: Engine, batch: Any) -> dict[str, Any]:
        micro_batch = accumulation.begin(engine)
        if not model.training:
            model.train()
        if micro_batch.first:
            for each in optimizers:
                each.zero_grad(set_to_none=True)
        x, y = prepare_batch(batch, device)
        with nullcontext() if micro_batch.last else without_reduction(model):
            with precision:
                y_pred = model(x)
            y_pred = as_float32(y_pred)
            contributions, total = contributions_and_total(loss_fn, name, y_pred, y)
            weight = accumulation.weight(samples_of(y_pred, y), (p.grad for p in parameters()))
            weighted = total if weight == 1 else total * weight
            (weighted if scaler is None else scaler.scale(weighted)).backward()  # type: ignore[no-untyped-call]
        if micro_batch.last:
            update()
        return step_output(contributions, total, y_pred, y)

    trainer = refuse_early_end(Engine(train_step))
    trainer.state.scaler = scaler  # type: ignore[attr-defined]  # State takes any attribute
    return trainer


def supervised_engines(
    model: nn.Module,
    optimizers: Mapping[str, Optimizer],
    loss_fn: Loss | None,
    device: torch.device,
    clip_grad_norm: float | None = None,
    clip_grad_value: float | None = None,
    accumulation_steps: int = 1,
    amp: str = "off",
    skip_non_finite: bool = False,
    prepare_batch: PrepareBatch = move_pair,
) -> Engines:
    """Supervised training, as `run` takes it: see `supervised_trainer`.

    Raises:
        TypeError: There are several models, or no loss.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(
            "supervised training takes one model, got several "
            f"({', '.join(model)}); choose another engine"
        )
    if loss_fn is None:
        raise TypeError("supervised training needs a loss, got none: choose loss=...")
    accumulation = Accumulation(accumulation_steps)
    trainer = supervised_trainer(
        model,
        optimizers,
        loss_fn,
        device=device,
        clip_grad_norm=clip_grad_norm,
        clip_grad_value=clip_grad_value,
        accumulation_steps=accumulation,
        amp=amp,
        skip_non_finite=skip_non_finite,
        prepare_batch=prepare_batch,
    )
    # Evaluation needs no gradients, so no reduction: the module itself, on every process.
    module = alone(model)
    return Engines(
        trainer,
        lambda: supervised_evaluator(
            module, loss_fn, device=device, amp=amp, prepare_batch=prepare_batch
        ),
        state={"accumulation": accumulation},
    )


def _all_finite(parameters: Iterator[Tensor]) -> bool:
    """Whether every gradient is; one read of the device."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return True
    values = [g.coalesce().values() if g.is_sparse else g for g in gradients]
    return bool(torch.stack([v.isfinite().all().to(values[0].device) for v in values]).all())
