"""Exchange of gradients between processes, and where there is none."""

from contextlib import nullcontext
from typing import Any

from torch import nn

from trainkit.unwrap import unwrapped

__all__ = ["alone", "without_reduction"]


def without_reduction(model: nn.Module) -> Any:
    """A context without an exchange of gradients, where the model would do one."""
    return model.no_sync() if hasattr(model, "no_sync") else nullcontext()  # type: ignore[operator]


def alone(model: nn.Module) -> nn.Module:
    """The module itself, without what reduces its gradients over the processes."""
    return unwrapped(model, (nn.parallel.DistributedDataParallel,), compiled=False)
