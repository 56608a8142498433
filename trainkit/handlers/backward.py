"""When a backward pass has ended, and all of its gradients are there."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["BackwardEnd"]

# DistributedDataParallel averages the gradients in a callback of its own at the end of the pass,
# and asks for it late (with a static graph only within another one): ours goes behind.
_BEHIND = 2


class BackwardEnd:
    """Calls a function at the end of each backward pass that reached any of these tensors.

    A hook on each tensor notices that its gradient was accumulated; the first one of a pass asks
    autograd to call back when the pass is over. So what is called sees all gradients of the pass,
    once, however many tensors there are, and after several processes have averaged them.

    Args:
        tensors: Leaves of the graph; lazy parameters that have no size yet, and frozen ones, too.
        function: Called without arguments; must not raise.
    """

    def __init__(self, tensors: tuple[Tensor, ...], function: Callable[[], None]) -> None:
        self.tensors = tensors
        self._function = function
        self._pass = -1
        self._behind = _BEHIND if _in_several_processes() else 0
        # A lazy parameter allows itself few methods; this one does it no harm.
        with torch._C.DisableTorchFunctionSubclass():
            self._handles: list[Any] = [
                self._hooked(tensor)
                for tensor in tensors
                if (tensor.is_floating_point() or tensor.is_complex()) and not tensor.is_inference()
            ]

    def remove(self) -> None:
        """Take every hook away."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _hooked(self, tensor: Tensor) -> Any:
        register: Any = tensor.register_post_accumulate_grad_hook
        if tensor.requires_grad:
            return register(self._notice)
        # It may be thawed before the pass: a critic that is frozen while the generator learns.
        # torch refuses the hook of what is frozen now, and keeps it when it is frozen later.
        tensor.requires_grad_(True)
        try:
            return register(self._notice)
        finally:
            tensor.requires_grad_(False)

    def _notice(self, tensor: Tensor) -> None:
        # The number tells passes apart, also where one ended in an exception.
        number = torch._C._current_graph_task_id()
        if number != self._pass:
            self._pass = number
            self._ask(self._behind)

    def _ask(self, behind: int) -> None:
        # As torch's own FSDP does it; there is no public name for it.
        torch.autograd.Variable._execution_engine.queue_callback(lambda: self._end(behind))

    def _end(self, behind: int) -> None:
        if behind:
            self._ask(behind - 1)
        elif self._handles:
            self._function()


def _in_several_processes() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
