"""Detect the end of a backward pass, when all of its gradients are complete."""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor

from trainkit.handlers.sampling.optimizer_hooks import compiling, uncompiled

__all__ = ["BackwardEnd"]

# DistributedDataParallel averages the gradients in a callback of its own at the end of the pass,
# and asks for it late (with a static graph only within another one): ours goes behind.
_BEHIND = 2

_hooks_of = attrgetter("_post_accumulate_grad_hooks")


class BackwardEnd:
    """Calls a function at the end of each backward pass that reached any of these tensors.

    A hook on each tensor notices that its gradient was accumulated; the first one of a pass asks
    autograd to call back when the pass is over. So what is called sees all gradients of the pass,
    once, however many tensors there are, and after several processes have averaged them.

    The hooks are there between `put` and `remove`, which may be called any number of times. They
    are not registered through torch's method: with the removal that costs ten times as much, and
    it refuses tensors that are frozen now and will be thawed before the pass. A compiled function
    that contains the backward pass would compile them, and all that is called from them.

    Args:
        tensors: Leaves of the graph; lazy parameters that have no size yet, and frozen ones, too.
        function: Called without arguments; must not raise.
    """

    def __init__(self, tensors: tuple[Tensor, ...], function: Callable[[], None]) -> None:
        self.tensors = tensors
        self._function = function
        self._pass = -1
        self._behind = _BEHIND if _in_several_processes() else 0
        self._there = False
        # A lazy parameter allows itself few methods; this one does it no harm.
        with torch._C.DisableTorchFunctionSubclass():
            self._hooked = [
                tensor
                for tensor in tensors
                if (tensor.is_floating_point() or tensor.is_complex()) and not tensor.is_inference()
            ]
        self._key = f"trainkit.{id(self)}"
        self._hook: Callable[[Tensor], None] = self._notice
        self._ends = [partial(self._end, behind) for behind in range(self._behind + 1)]
        self._ready = False
        # Of each tensor the hooks of everybody, while ours is among them.
        self._places: list[dict[Any, Any]] = []

    def put(self) -> None:
        """Put a hook on every tensor; harmless when they are there."""
        if self._there:
            return
        self._there = True
        with torch._C.DisableTorchFunctionSubclass():
            found = [*map(_hooks_of, self._hooked)]
            if found.count(None):
                for i, tensor in enumerate(self._hooked):
                    if found[i] is None:  # as torch's method does; it stays, and costs nothing
                        found[i] = tensor._post_accumulate_grad_hooks = OrderedDict()
        self._places = found
        if not self._ready and compiling():
            self._ready = True
            self._hook = uncompiled(self._notice)
            self._ends = [*map(uncompiled, self._ends)]
        key, hook = self._key, self._hook
        for hooks in found:
            hooks[key] = hook

    def remove(self) -> None:
        """Take every hook away; harmless when that is done."""
        key = self._key
        for hooks in self._places:
            hooks.pop(key, None)
        self._places, self._there = [], False

    def _notice(self, tensor: Tensor) -> None:
        # The number tells passes apart, also where one ended in an exception.
        number = torch._C._current_graph_task_id()
        if number != self._pass:
            self._pass = number
            self._ask(self._behind)

    def _ask(self, behind: int) -> None:
        # As torch's own FSDP does it; there is no public name for it.
        torch.autograd.Variable._execution_engine.queue_callback(self._ends[behind])

    def _end(self, behind: int) -> None:
        if behind:
            self._ask(behind - 1)
        elif self._there:
            self._function()


def _in_several_processes() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
