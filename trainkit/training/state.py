"""The whole state of a run: what a checkpoint keeps, and putting it back."""

from collections.abc import Iterator, Mapping
from typing import Any

import ignite.distributed as idist
from torch import Tensor, nn

from trainkit.rundir import FORMAT, random_state, set_random_state
from trainkit.screen import counted
from trainkit.training.build import Built

__all__ = [
    "OF_ONE_PROCESS",
    "StateMismatchError",
    "as_of_process",
    "load_models",
    "restore",
    "run_state",
    "start_from",
    "state_of_process",
]

#: What of a state differs between the processes of a run.
OF_ONE_PROCESS = ("data", "random")


class StateMismatchError(ValueError):
    """The state of a checkpoint does not fit the run that is to go on from it."""


def run_state(built: Built, run: str) -> dict[str, Any]:
    """Everything that the next iteration depends on; the tensors are those of the run, no copies.

    Models (weights, buffers that no `state_dict` holds, which modules are in evaluation mode,
    which parameters are frozen, gradients: an accumulation may be under way), optimizers,
    schedules, loss scaler, the engine's own state, iteration and epoch, the place in the data,
    the random state.

    Args:
        built: What takes part in the run.
        run: Its id.
    """
    trainer = built.engines.trainer
    scaler = getattr(trainer.state, "scaler", None)
    modules = dict(_modules(built))
    return {
        "format": FORMAT,
        "run": run,
        "models": {name: module.state_dict() for name, module in built.models.items()},
        "loss": built.loss_fn.state_dict() if isinstance(built.loss_fn, nn.Module) else {},
        "buffers": {name: _hidden_buffers(module) for name, module in modules.items()},
        "modes": {
            name: {key: part.training for key, part in module.named_modules()}
            for name, module in modules.items()
        },
        "frozen": {
            name: [key for key, p in module.named_parameters() if not p.requires_grad]
            for name, module in modules.items()
        },
        "gradients": {
            name: {key: p.grad for key, p in module.named_parameters() if p.grad is not None}
            for name, module in modules.items()
        },
        "optimizers": {name: each.state_dict() for name, each in built.optimizers.items()},
        "schedules": {name: each.state_dict() for name, each in built.schedules.items()},
        "scaler": None if scaler is None else scaler.state_dict(),
        "engine": {name: each.state_dict() for name, each in built.engines.state.items()},
        "iteration": trainer.state.iteration,
        "epoch": trainer.state.epoch,
        "epoch_length": len(built.source),
        "iterations": built.iterations,
        "world": idist.get_world_size(),
        **state_of_process(built),
    }


def state_of_process(built: Built) -> dict[str, Any]:
    """What differs between the processes of a run: the place in the data, the random state."""
    return {"data": built.source.state_dict(), "random": random_state()}


def as_of_process(state: dict[str, Any]) -> list[str]:
    """Have the state of a run be that of this process.

    Returns:
        What the user must know, a line each.

    Raises:
        StateMismatchError: It is of another number of processes.
    """
    before, world = state.get("world", 1), idist.get_world_size()
    if before != world:
        raise StateMismatchError(
            f"the run was trained by {counted(before, 'process')}, and would go on with {world}: "
            "its random numbers and its shares of the data would be others"
        )
    if world == 1:
        return []
    found = state.get("processes")
    if found is None:
        return ["the random state of the other processes was not saved: this resume is not exact"]
    state.update(found[idist.get_rank()])
    return []


def restore(built: Built, state: Mapping[str, Any]) -> None:
    """Put a state back into what was built; the random state comes last, with `start_from`.

    Raises:
        StateMismatchError: It does not fit; says what.
    """
    for what, found, kept in (
        ("models", built.models, state["models"]),
        ("optimizers", built.optimizers, state["optimizers"]),
        ("schedules", built.schedules, state["schedules"]),
    ):
        if set(found) != set(kept):
            raise StateMismatchError(
                f"the checkpoint holds the {what} {', '.join(kept) or 'none'}, this run has "
                f"{', '.join(found) or 'none'}"
            )
    if len(built.source) != state["epoch_length"]:
        raise StateMismatchError(
            f"an epoch of the checkpoint has {state['epoch_length']} iterations, one of this run "
            f"{len(built.source)}: the training data are not the same"
        )
    load_models(built.models, state["models"])
    if isinstance(built.loss_fn, nn.Module):
        _load("the loss", built.loss_fn, state["loss"])
    for name, module in _modules(built):
        _restore_module(module, name, state)
    for name, optimizer in built.optimizers.items():
        _load(f"the optimizer {name!r}", optimizer, state["optimizers"][name])
    for name, schedule in built.schedules.items():
        _load(f"the schedule of {name!r}", schedule, state["schedules"][name])
    scaler = getattr(built.engines.trainer.state, "scaler", None)
    if scaler is not None and state["scaler"] is not None:
        scaler.load_state_dict(state["scaler"])
    for name, each in built.engines.state.items():
        if name in state["engine"]:
            _load(f"{name!r} of the engine", each, state["engine"][name])
    built.source.load_state_dict(state["data"])
    built.engines.trainer.load_state_dict(
        {
            "iteration": state["iteration"],
            "epoch_length": state["epoch_length"],
            "max_iters": max(built.iterations, state["iteration"]),
        }
    )


def start_from(state: Mapping[str, Any]) -> None:
    """Put the random state back: the last thing before the next iteration."""
    set_random_state(state["random"])


def load_models(models: Mapping[str, nn.Module], states: Mapping[str, Any] | None) -> None:
    """Put weights into the models, in every process those that the first one has.

    Args:
        models: By name.
        states: Name → `state_dict`; used in the first process only.

    Raises:
        StateMismatchError: They do not fit.
    """
    for name, module in models.items():
        if states is not None:
            _load(f"the model {name!r}", module, states[name])
        if idist.get_world_size() > 1:
            for value in module.state_dict().values():
                if isinstance(value, Tensor):
                    value.copy_(idist.broadcast(value, src=0))  # type: ignore[arg-type]


def _load(what: str, target: Any, state: Any) -> None:
    try:
        target.load_state_dict(state)
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        said = " ".join(str(error).split())[:300]
        raise StateMismatchError(f"the checkpoint does not fit {what}: {said}") from error


def _modules(built: Built) -> Iterator[tuple[str, nn.Module]]:
    """The models, and the loss, which may have parameters too."""
    yield from built.models.items()
    if isinstance(built.loss_fn, nn.Module):
        yield "loss_fn", built.loss_fn


def _hidden_buffers(module: nn.Module) -> dict[str, Tensor]:
    """Buffers that are left out of the `state_dict`."""
    kept = module.state_dict().keys()
    return {key: value for key, value in module.named_buffers() if key not in kept}


def _restore_module(module: nn.Module, name: str, state: Mapping[str, Any]) -> None:
    """Hidden buffers, modes, frozen parameters and gradients."""
    buffers = state["buffers"].get(name, {})
    for key, value in module.named_buffers():
        if key in buffers and value.shape == buffers[key].shape:
            value.data.copy_(buffers[key])
    modes = state["modes"].get(name, {})
    for key, part in module.named_modules():
        part.training = modes.get(key, part.training)
    frozen = set(state["frozen"].get(name, ()))
    gradients = state["gradients"].get(name, {})
    for key, parameter in module.named_parameters():
        parameter.requires_grad_(key not in frozen)
        gradient = gradients.get(key)
        parameter.grad = None if gradient is None else gradient.to(parameter.device)
