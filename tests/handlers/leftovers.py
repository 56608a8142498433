"""What monitors left behind on modules, tensors, optimizers and engines."""

from collections.abc import Iterator

import torch
from ignite.engine import Engine
from torch import nn
from torch.optim import Optimizer

__all__ = ["leftovers"]

_OF_MODULES = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_load_state_dict_pre_hooks",
)
_OF_OPTIMIZERS = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")


def leftovers(*watched: nn.Module | Optimizer | Engine) -> list[str]:
    """Every hook that is still there, and every event handler of trainkit's."""
    return [found for thing in watched for found in _of(thing)]


def _of(thing: nn.Module | Optimizer | Engine) -> Iterator[str]:
    if isinstance(thing, nn.Module):
        for name, module in thing.named_modules():
            yield from (f"{name}.{hooks}" for hooks in _OF_MODULES if getattr(module, hooks))
        for name, parameter in thing.named_parameters():
            for hooks in ("_backward_hooks", "_post_accumulate_grad_hooks"):
                if getattr(parameter, hooks, None):
                    yield f"{name}.{hooks}"
    elif isinstance(thing, Optimizer):
        yield from (hooks for hooks in _OF_OPTIMIZERS if getattr(thing, hooks))
    else:
        for event, handlers in thing._event_handlers.items():
            for handler, _, _ in handlers:
                if handler.__module__.startswith("trainkit"):
                    yield f"{event}: {handler.__qualname__}"
    if torch.nn.modules.module._global_forward_hooks:
        yield "a global forward hook"
