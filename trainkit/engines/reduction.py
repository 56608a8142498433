"""Exchange of gradients between processes, and where there is none."""

from contextlib import nullcontext
from typing import Any

import ignite.distributed as idist
from torch import nn

from trainkit.unwrap import unwrapped

__all__ = ["alone", "share_buffers", "without_reduction"]


def without_reduction(model: nn.Module) -> Any:
    """A context without an exchange of gradients, where the model would do one."""
    return model.no_sync() if hasattr(model, "no_sync") else nullcontext()  # type: ignore[operator]


def share_buffers(model: nn.Module) -> None:
    """Give every process the buffers of the first one: running statistics differ between them.

    That is what `DistributedDataParallel` does before each batch of the training; every process
    must call this at the same point. Without other processes it does nothing.
    """
    if isinstance(model, nn.parallel.DistributedDataParallel):
        for buffer in model.module.buffers():
            buffer.copy_(idist.broadcast(buffer, src=0))


def alone(model: nn.Module) -> nn.Module:
    """The module itself, without what reduces its gradients over the processes."""
    return unwrapped(model, (nn.parallel.DistributedDataParallel,), compiled=False)
