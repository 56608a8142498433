"""When a backward pass has ended, and which gradients it left."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

__all__ = ["BackwardEnd"]


class BackwardEnd:
    """Calls a function at the end of each backward pass that reached any of these tensors.

    A hook on each tensor notices that its gradient was accumulated; the first one of a pass asks
    autograd to call back when the pass is over. So what is called sees all gradients of the pass,
    once, however many tensors there are. Lazy parameters that have no size yet are left out.

    Args:
        tensors: Leaves of the graph.
        function: Called without arguments; must not raise.
    """

    def __init__(self, tensors: Iterable[Tensor], function: Callable[[], None]) -> None:
        self._function = function
        self._asked = False
        self._live = True
        self._handles: list[Any] = [
            tensor.register_post_accumulate_grad_hook(self._notice)
            for tensor in tensors
            if tensor.requires_grad and not is_lazy(tensor)
        ]

    def forget(self) -> None:
        """Expect a new pass: the one before may have ended in an exception."""
        self._asked = False

    def remove(self) -> None:
        """Take every hook away."""
        self._live = False
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _notice(self, tensor: Tensor) -> None:
        if not self._asked:
            self._asked = True
            # As torch's own FSDP does it; there is no public name for it.
            torch.autograd.Variable._execution_engine.queue_callback(self._end)

    def _end(self) -> None:
        self._asked = False
        if self._live:
            self._function()
