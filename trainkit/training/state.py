"""The whole state of a run, as a checkpoint keeps it."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import ignite.distributed as idist
from torch import Tensor, nn

from trainkit.rundir import Best, random_state
from trainkit.training.build import Built

__all__ = ["load_models", "run_state"]

FORMAT = 1


def run_state(
    built: Built, best: Best, values: Mapping[str, Any], evaluated: int
) -> dict[str, Any]:
    """Everything that the next iteration depends on, and what is known so far.

    Models, optimizers, schedules, loss scaler, the engine's own state, gradients (an accumulation
    may be under way), iteration and epoch, the place in the data, the random state.

    Args:
        built: What takes part in the run.
        best: The best value so far.
        values: Of the last evaluation, by part of the data.
        evaluated: The iteration of that evaluation.
    """
    trainer = built.engines.trainer
    scaler = getattr(trainer.state, "scaler", None)
    return {
        "format": FORMAT,
        "models": {name: module.state_dict() for name, module in built.models.items()},
        "gradients": {
            name: {key: p.grad for key, p in module.named_parameters() if p.grad is not None}
            for name, module in built.models.items()
        },
        "optimizers": {name: each.state_dict() for name, each in built.optimizers.items()},
        "schedules": {name: each.state_dict() for name, each in built.schedules.items()},
        "scaler": None if scaler is None else scaler.state_dict(),
        "engine": {name: each.state_dict() for name, each in built.engines.state.items()},
        "loss": built.loss_fn.state_dict() if isinstance(built.loss_fn, nn.Module) else {},
        "iteration": trainer.state.iteration,
        "epoch": trainer.state.epoch,
        "epoch_length": trainer.state.epoch_length,
        "iterations": built.iterations,
        "best": asdict(best),
        "values": {part: dict(numbers) for part, numbers in values.items()},
        "evaluated": evaluated,
        "random": random_state(),
    }


def load_models(models: Mapping[str, nn.Module], states: Mapping[str, Any] | None) -> None:
    """Put weights into the models, in every process those that the first one has.

    Args:
        models: By name.
        states: Name → `state_dict`; used in the first process only.
    """
    for name, module in models.items():
        if states is not None:
            module.load_state_dict(states[name])
        if idist.get_world_size() > 1:
            for value in module.state_dict().values():
                if isinstance(value, Tensor):
                    value.copy_(idist.broadcast(value, src=0))  # type: ignore[arg-type]
