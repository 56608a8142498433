"""Make the objects of a run from the parts of a config."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from inspect import isroutine
from math import ceil
from typing import Any

import ignite.distributed as idist
import torch
from ignite.metrics import Metric
from torch import nn
from torch.optim import Optimizer

from trainkit.data import Data
from trainkit.data.divided import divided
from trainkit.engines import Engines, supervised_engines
from trainkit.fill_partials import (
    by_name,
    check_complete,
    complete,
    described,
    named_parameters_of,
)
from trainkit.names import nearest
from trainkit.schedules import Schedule, as_schedule
from trainkit.settings import TrainerSettings
from trainkit.training.build_optimizers import check_closures, make_optimizers
from trainkit.training.source import TrainingSource

__all__ = ["Built", "build"]

# Trainer settings that an engine must name if a config sets them.
_ENGINE_SETTINGS = {
    "clip_grad_norm": None,
    "clip_grad_value": None,
    "accumulation_steps": 1,
    "amp": "off",
    "skip_non_finite": False,
}


@dataclass(frozen=True)
class Built:
    """Everything that takes part in one run.

    Args:
        models: By name, unwrapped, on the device.
        optimizers: By name.
        schedules: By the name of their optimizer.
        loss_fn: None where the engine has its own.
        data: Batches.
        source: The training data as the trainer takes them; its length is that of an epoch.
        engines: Of this way of training.
        metrics: Of the config, by name.
        samples: Tag → maker of what is shown after each evaluation, config's and engine's.
        device: Where it all is.
        iterations: Of the whole run, of the trainer.
        known: What partials wait for, by parameter name.
        notes: What the user must know, a line each.
    """

    models: Mapping[str, nn.Module]
    optimizers: Mapping[str, Optimizer]
    schedules: Mapping[str, Schedule]
    loss_fn: Any
    data: Data
    source: TrainingSource
    engines: Engines
    metrics: Mapping[str, Metric]
    samples: Mapping[str, Any]
    device: torch.device
    iterations: int
    known: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def build(
    *,
    model: Any,
    data: Any,
    loss: Any,
    optimizer: Any,
    scheduler: Any,
    metrics: Any,
    engine: Any,
    samples: Any,
    settings: TrainerSettings,
    device: torch.device,
) -> Built:
    """Complete every part by parameter name, in the order in which they need each other.

    Raises:
        TypeError: A part is of the wrong kind.
        ValueError: Parts do not fit together.
    """
    known: dict[str, Any] = {"device": device, "seed": settings.seed}
    data, notes = divided(_data(complete(data, known, "data")), settings.seed)
    source = TrainingSource(data.train, settings.epoch_length)
    known |= {"data": data, **_iterations(len(source), settings)}
    plain = _models(model, known)
    for module in plain.values():
        module.to(device)
    single = not isinstance(model, Mapping)
    whole = plain["model"] if single else plain
    known |= {"models": plain, "model": whole}
    loss_fn = _loss(loss, known)
    optimizers = make_optimizers(optimizer, plain, known)
    schedules = _schedules(scheduler, optimizers, known)
    trained = {name: _prepared(module, settings) for name, module in plain.items()}
    known |= {
        "models": trained,
        "model": trained["model"] if single else trained,
        "loss_fn": loss_fn,
        "optimizers": optimizers,
    }
    if list(optimizers) == ["optimizer"]:
        known["optimizer"] = optimizers["optimizer"]
    engines = _engines(engine, known, settings)
    known |= {"models": plain, "model": whole}
    metrics = _metrics({**by_name(metrics, "metrics"), **engines.metrics}, known)
    makers = {
        tag: _sample(tag, maker, dict(known)) for tag, maker in by_name(samples, "samples").items()
    }
    return Built(
        models=plain,
        optimizers=optimizers,
        schedules=schedules,
        loss_fn=loss_fn,
        data=data,
        source=source,
        engines=engines,
        metrics=metrics,
        samples={**engines.samples, **makers},
        device=device,
        iterations=_trainer_iterations(len(source), settings),
        known=known,
        notes=tuple(notes),
    )


def _data(data: Any) -> Data:
    if not isinstance(data, Data):
        raise TypeError(f"data must be a trainkit.data.Data, got {described(data)}")
    return data


def _trainer_iterations(per_epoch: int, settings: TrainerSettings) -> int:
    limits = [settings.max_iterations]
    if settings.epochs is not None:
        limits.append(settings.epochs * per_epoch)
    return min(limit for limit in limits if limit is not None)


def _iterations(per_epoch: int, settings: TrainerSettings) -> dict[str, int]:
    """Number of iterations; every epoch, and the run, ends with an optimizer step."""
    total = _trainer_iterations(per_epoch, settings)
    epochs, rest = divmod(total, per_epoch)
    steps = ceil(per_epoch / settings.accumulation_steps)
    return {
        "iterations": epochs * steps + ceil(rest / settings.accumulation_steps),
        "iterations_per_epoch": steps,
    }


def _models(model: Any, known: Mapping[str, Any]) -> dict[str, nn.Module]:
    parts = by_name(model, "model") if isinstance(model, Mapping) else {"model": model}
    if not parts:
        raise ValueError("model must hold at least one model, got an empty mapping")
    models = {}
    for name, part in parts.items():
        key = "model" if name == "model" else f"model.{name}"
        made = complete(part, known, key)
        if not isinstance(made, nn.Module):
            raise TypeError(f"{key} must be a torch.nn.Module, got {described(made)}")
        models[name] = made
    return models


def _loss(loss: Any, known: Mapping[str, Any]) -> Any:
    # A partial of a plain function of (y_pred, y) waits for nothing: it is the loss.
    loss_fn = loss if _is_loss(loss, known) else complete(loss, known, "loss")
    if isinstance(loss_fn, type):
        raise TypeError(f"loss must be callable as loss(y_pred, y), got {described(loss_fn)}")
    if loss_fn is not None and not callable(loss_fn):
        raise TypeError(f"loss must be callable as loss(y_pred, y), got {type(loss_fn).__name__}")
    return loss_fn.to(known["device"]) if isinstance(loss_fn, nn.Module) else loss_fn


def _is_loss(loss: Any, known: Mapping[str, Any]) -> bool:
    if not isinstance(loss, partial) or isinstance(loss.func, type):
        return False
    needed = [name for name, required in named_parameters_of(loss).items() if required]
    return len(needed) == 2 and not any(name in known for name in needed)


def _schedules(
    scheduler: Any, optimizers: Mapping[str, Optimizer], known: Mapping[str, Any]
) -> dict[str, Schedule]:
    if scheduler is None:
        return {}
    parts = dict.fromkeys(optimizers, scheduler)
    if isinstance(scheduler, Mapping):
        parts = by_name(scheduler, "scheduler")
        for name in parts:
            if name not in optimizers:
                raise ValueError(
                    f"scheduler.{name}: there is no such optimizer; nearest: "
                    f"{nearest(name, optimizers)}"
                )
    elif len(optimizers) > 1 and not isinstance(scheduler, partial):
        raise TypeError("with several optimizers, scheduler must be a partial or a mapping")
    made = {
        name: complete(part, {**known, "optimizer": optimizers[name]}, "scheduler")
        for name, part in parts.items()
    }
    for schedule in made.values():
        if isinstance(schedule, type) or isroutine(schedule):
            raise TypeError(f"scheduler must be a schedule, got {described(schedule)}")
    return {name: as_schedule(schedule) for name, schedule in made.items()}


def _prepared(module: nn.Module, settings: TrainerSettings) -> nn.Module:
    """Compile the model, and wrap it where several processes train together."""
    if settings.compile:
        module.compile()  # wrapped in place: names and state stay as they are
    if idist.get_world_size() > 1 and any(p.requires_grad for p in module.parameters()):
        logging.getLogger("ignite.distributed.auto.auto_model").setLevel(logging.WARNING)
        wrapped: nn.Module = idist.auto_model(module, sync_bn=settings.sync_batchnorm)
        return wrapped
    return module


def _engines(engine: Any, known: Mapping[str, Any], settings: TrainerSettings) -> Engines:
    factory = partial(supervised_engines) if engine is None else engine
    if not isinstance(factory, partial):
        factory = partial(factory) if callable(factory) else factory
    if not isinstance(factory, partial):
        raise TypeError(f"engine must make trainkit.engines.Engines, got {factory!r}")
    names = named_parameters_of(factory)
    given = dict(known)
    for name, default in _ENGINE_SETTINGS.items():
        skip = name == "skip_non_finite"
        value = settings.on_non_finite == "skip" if skip else getattr(settings, name)
        if value != default and name not in names:
            raise ValueError(
                f"trainer.{'on_non_finite: skip' if skip else f'{name}: {value}'} has no meaning "
                "for this engine "
                f"({getattr(factory.func, '__name__', factory.func)}); leave it out"
            )
        given[name] = value
    if getattr(factory.func, "__module__", "").startswith("trainkit."):
        check_closures(known["optimizers"])
    engines = complete(factory, given, "engine")
    if not isinstance(engines, Engines):
        raise TypeError(
            f"engine must return trainkit.engines.Engines, got {type(engines).__name__}"
        )
    return engines


def _metrics(metrics: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Metric]:
    made = {}
    for name, part in metrics.items():
        metric = complete(part, known, f"metrics.{name}")
        if not isinstance(metric, Metric):
            raise TypeError(
                f"metrics.{name} must be an ignite.metrics.Metric, got {described(metric)}"
            )
        if name == "loss":
            raise ValueError("metrics.loss: 'loss' is the loss itself; call the metric otherwise")
        made[name] = metric
    return made


def _sample(tag: str, maker: Any, known: Mapping[str, Any]) -> Callable[[], Any]:
    waiting = maker if isinstance(maker, partial) else partial(maker)
    check_complete(waiting, known, f"samples.{tag}")
    return partial(complete, waiting, known, f"samples.{tag}")
