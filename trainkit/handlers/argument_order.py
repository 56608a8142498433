"""The order of arguments before the writer came first: one line says what to write instead."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from torch import nn
from torch.optim import Optimizer

__all__ = ["writer_first"]

P = ParamSpec("P")
M = TypeVar("M")


def writer_first(
    init: Callable[Concatenate[M, P], None],
) -> Callable[Concatenate[M, P], None]:
    """Let a constructor refuse a model or an optimizer in the place of the writer.

    Args:
        init: The constructor of a monitor; its first parameter is the writer.
    """

    @wraps(init)
    def checked(self: M, /, *args: P.args, **options: P.kwargs) -> None:
        first: Any = args[0] if args else None
        if isinstance(first, nn.Module | Optimizer | Mapping):
            name = type(self).__name__
            raise TypeError(
                f"{name} takes the writer first, got {type(first).__name__}; write "
                f"{name}(writer, every, ...) and all else by keyword, e.g. model=model"
            )
        init(self, *args, **options)

    return checked
