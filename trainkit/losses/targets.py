"""Bringing a target into the shape and dtype that its loss takes, where that is unambiguous."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["adapt_target"]

_BINARY = (nn.BCELoss, nn.BCEWithLogitsLoss)
_ELEMENTWISE = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss)
_CLASSES = (nn.CrossEntropyLoss, nn.NLLLoss)
_BINARY_FUNCTIONS = (F.binary_cross_entropy, F.binary_cross_entropy_with_logits)
_ELEMENTWISE_FUNCTIONS = (F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss)
_CLASSES_FUNCTIONS = (F.cross_entropy, F.nll_loss)


def adapt_target(loss_fn: Callable[..., Any], y_pred: Any, y: Any) -> Any:
    """The target as `loss_fn` takes it, or a clear error where its shape cannot be meant.

    - BCE and BCE with logits: floating point, in the shape of the predictions.
    - MSE, L1, smooth L1, Huber: the dtype and the shape of the predictions. A target of shape
      `[N]` for predictions `[N, 1]` is reshaped; PyTorch would broadcast both to `[N, N]` and
      train on nonsense.
    - Cross entropy and NLL: class indices as int64, `[N, 1]` as `[N]`; class probabilities (the
      shape of the predictions) as they are.
    - Any other loss: the target as it is.

    Args:
        loss_fn: One of PyTorch's loss modules or functions.
        y_pred: Predictions, first dimension the batch.
        y: Targets, first dimension the batch.

    Raises:
        ValueError: The shapes, or for class indices the dtype, do not fit.

    Example:
        >>> adapt_target(nn.BCEWithLogitsLoss(), torch.zeros(3, 1), torch.tensor([0, 1, 1])).shape
        torch.Size([3, 1])
    """
    if not (isinstance(y_pred, Tensor) and isinstance(y, Tensor)):
        return y
    if isinstance(loss_fn, _BINARY + _ELEMENTWISE) or _is_one_of(
        loss_fn, _BINARY_FUNCTIONS + _ELEMENTWISE_FUNCTIONS
    ):
        return _same_shape(y_pred, y).to(y_pred.dtype)
    if isinstance(loss_fn, _CLASSES) or _is_one_of(loss_fn, _CLASSES_FUNCTIONS):
        return _class_indices(y_pred, y)
    return y


def _is_one_of(loss_fn: Callable[..., Any], functions: tuple[Callable[..., Any], ...]) -> bool:
    function = getattr(loss_fn, "func", loss_fn)  # of a functools.partial
    return any(function is known for known in functions)


def _same_shape(y_pred: Tensor, y: Tensor) -> Tensor:
    if y.shape == y_pred.shape:
        return y
    if _without_ones(y) != _without_ones(y_pred):
        raise ValueError(
            f"the target must have the shape of the predictions, {list(y_pred.shape)}, got "
            f"{list(y.shape)}; change the model's output or the target"
        )
    return y.reshape(y_pred.shape)


def _without_ones(tensor: Tensor) -> list[int]:
    return list(tensor.shape[:1]) + [n for n in tensor.shape[1:] if n != 1]


def _class_indices(y_pred: Tensor, y: Tensor) -> Tensor:
    if y.shape == y_pred.shape and y.is_floating_point():
        return y  # class probabilities
    if y.ndim == y_pred.ndim and y.shape[1:2] == (1,):
        y = y.squeeze(1)
    if y.is_floating_point():
        raise ValueError(
            f"the target must hold class indices (integers) of shape {_index_shape(y_pred)}, got "
            f"{y.dtype} of shape {list(y.shape)}; for a regression take mse, for yes-or-no "
            "targets bce_with_logits"
        )
    if y_pred.ndim == 0 or list(y.shape) != _index_shape(y_pred):
        raise ValueError(
            f"the target must hold one class index per prediction, shape {_index_shape(y_pred)} "
            f"for predictions of shape {list(y_pred.shape)}, got {list(y.shape)}"
        )
    return y.to(torch.int64)


def _index_shape(y_pred: Tensor) -> list[int]:
    shape = list(y_pred.shape)
    return shape[:1] + shape[2:] if len(shape) > 1 else []
