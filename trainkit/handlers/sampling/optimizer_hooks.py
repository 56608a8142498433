"""Hooks before and after an optimizer's step, which come and go at little cost."""

import sys
from collections.abc import Callable
from itertools import count
from types import FrameType
from typing import Any, TypeVar

from torch.optim import Optimizer

__all__ = ["OptimizerHooks", "compiling", "inner_step", "is_made_of_another", "uncompiled"]

Hook = Callable[[Optimizer, Any, Any], None]
F = TypeVar("F", bound=Callable[..., Any])

_numbers = count()

# `Optimizer.step` of every class is wrapped in a function of this code, which calls the hooks.
_WRAPPER = Optimizer.profile_hook_step(lambda: None).__code__


class OptimizerHooks:
    """A hook before the step of an optimizer and one after it, behind those of everybody else.

    They are the same two objects under the same key each time, and are not registered through
    torch's method: it takes a new key each time, and `torch.compile` would compile a step that it
    looks into anew for each of them.

    Args:
        optimizer: Whose step it is.
        before: Called like torch's own pre hooks. It must not raise.
        after: Called like torch's own post hooks. It must not raise.
    """

    def __init__(self, optimizer: Optimizer, before: Hook, after: Hook) -> None:
        self._optimizer: Any = optimizer
        self._places: tuple[dict[Any, Any], ...] = ()
        self._key = f"trainkit.{next(_numbers)}"
        self._hooks: tuple[Hook, ...] = (before, after)
        self._ready = False

    def put(self) -> None:
        """Put the hooks there; harmless when they are."""
        if not self._ready and compiling():
            self._ready = True
            self._hooks = tuple(map(uncompiled, self._hooks))
        optimizer = self._optimizer
        self._places = optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks
        for place, hook in zip(self._places, self._hooks, strict=True):
            place[self._key] = hook

    def remove(self) -> None:
        """Take them away; harmless when that is done. Not while the optimizer calls its hooks."""
        if not self._places:
            return
        optimizer = self._optimizer
        now = optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks
        for place in (*self._places, *now):  # others, if somebody has put copies in their places
            place.pop(self._key, None)
        self._places = ()


def compiling() -> bool:
    """Whether anything may be compiled in this process: torch's compiler is imported."""
    return "torch._dynamo" in sys.modules


def uncompiled(hook: F) -> F:
    """The hook, as something that `torch.compile` calls and does not look into."""
    from torch._dynamo import disable

    make: Any = disable
    found: F = make(hook)
    return found


def inner_step(optimizer: Optimizer) -> bool:
    """Whether a step of this optimizer calls another of its own: `super().step()`.

    To be called from a hook. It looks at the stack, because nothing tells that a step has ended
    by an exception.
    """
    found = 0
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code is _WRAPPER and frame.f_locals.get("self") is optimizer:
            found += 1
            if found == 2:
                return True
        frame = frame.f_back
    return False


def is_made_of_another(optimizer: Optimizer) -> bool:
    """Whether somebody has put a step of theirs over that of an optimizer's own class.

    Horovod and `ignite.distributed.auto_optim` make a class of the same name with the methods of
    another one. That step may average gradients before it calls the one below.
    """
    made = type(optimizer)
    step = vars(made).get("step")
    return (
        step is not None
        and any(base.__name__ == made.__name__ for base in made.__bases__)
        and getattr(step, "__qualname__", "") != f"{made.__qualname__}.step"
    )
