"""The module inside the wrappers of torch."""

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

__all__ = ["unwrapped"]

_PARALLEL: tuple[type[nn.Module], ...] = (DataParallel, DistributedDataParallel)


def unwrapped(
    module: nn.Module,
    wrappers: tuple[type[nn.Module], ...] = _PARALLEL,
    *,
    compiled: bool = True,
) -> nn.Module:
    """The module itself, without `DataParallel`, `DistributedDataParallel` or `torch.compile`.

    Args:
        module: Wrapped any number of times, or not at all.
        wrappers: The classes to look inside; each holds its module as `module`.
        compiled: Whether to look inside what `torch.compile` has returned.

    Example:
        >>> unwrapped(DataParallel(nn.Linear(2, 1)))
        Linear(in_features=2, out_features=1, bias=True)
    """
    while True:
        if isinstance(module, wrappers):
            module = module.module  # type: ignore[assignment]
        elif compiled and isinstance(inner := getattr(module, "_orig_mod", None), nn.Module):
            module = inner
        else:
            return module
