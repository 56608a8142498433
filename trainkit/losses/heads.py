"""A loss on one head of a model with several."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from trainkit.losses.losses import LossError
from trainkit.losses.targets import adapt_target

__all__ = ["HeadLoss"]


class HeadLoss(nn.Module):
    """A loss on one head: loss(y_pred[head], y[target]).

    For models that return a mapping from head to predictions, as one of the components of a
    `Losses`. The target is brought into the shape that each of PyTorch's own losses takes: see
    `adapt_target`.

    Args:
        head: Name in `y_pred`.
        loss: Called with the predictions and the target of that head; returns a 0-d tensor.
        target: Name in `y`; None: the same.

    Raises:
        TypeError: `loss` cannot be called.

    Example:
        >>> import torch
        >>> loss = HeadLoss("age", nn.MSELoss())
        >>> loss({"age": torch.tensor([[2.0]])}, {"age": torch.tensor([0.0])})
        tensor(4.)
    """

    def __init__(self, head: str, loss: Callable[..., Tensor], target: str | None = None) -> None:
        super().__init__()
        if not callable(loss):
            raise TypeError(
                f"the loss of head {head!r} must be callable as loss(y_pred, y), got {loss!r}"
            )
        self.head = head
        self.target = head if target is None else target
        self.loss = loss

    def of_head(self, y_pred: Any, y: Any) -> tuple[Any, Any]:
        """The predictions and the target of the head.

        Raises:
            LossError: The model or the data have none of that name.
        """
        return _taken("y_pred", y_pred, self.head), _taken("y", y, self.target)

    def forward(self, y_pred: Any, y: Any) -> Tensor:
        """The loss of the head.

        Raises:
            LossError: The model or the data have none of that name, or the loss refuses them.
        """
        predicted, target = self.of_head(y_pred, y)
        try:
            value: Tensor = self.loss(predicted, adapt_target(self.loss, predicted, target))
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise LossError(
                f"head {self.head!r}, {_seen(predicted)} with target {_seen(target)}: {error}"
            ) from error
        return value


def _taken(what: str, values: Any, name: str) -> Any:
    try:
        return values[name]
    except (KeyError, TypeError, IndexError):
        there = ", ".join(map(str, values)) if hasattr(values, "keys") else type(values).__name__
        raise LossError(f"{what} has no head {name!r}, but {there}") from None


def _seen(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    return type(value).__name__
