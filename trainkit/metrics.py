"""Metrics that Ignite does not have in the form that the shipped experiments need."""

from collections.abc import Callable, Mapping
from math import log
from typing import Any

import torch
from ignite.metrics import Accuracy, Loss
from torch import Tensor
from torch.nn import functional as F

__all__ = ["binary_accuracy", "bits_per_character", "of_head"]


def binary_accuracy(threshold: float = 0.0, device: str | torch.device = "cpu") -> Accuracy:
    """The share of yes-or-no decisions that are right: mean of [(y_pred > threshold) = y].

    Args:
        threshold: 0 for logits, 0.5 for probabilities.
        device: Where it counts: that of the predictions, best.

    Example:
        >>> metric = binary_accuracy()
        >>> output = {"y_pred": torch.tensor([[2.0], [-1.0]]), "y": torch.tensor([[1.0], [1.0]])}
        >>> metric.update(metric._output_transform(output))
        >>> metric.compute()
        0.5
    """

    def decided(output: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        y_pred, y = output["y_pred"], output["y"]
        return (y_pred > threshold).to(y.dtype), y.reshape(y_pred.shape)

    return Accuracy(output_transform=decided, device=device)


def of_head(head: str, target: str | None = None) -> Callable[[Mapping[str, Any]], tuple[Any, Any]]:
    """An `output_transform` for a metric on one head: `(y_pred[head], y[target])`.

    A target `[N]` of predictions `[N, 1]` is reshaped: metrics would broadcast both.

    Args:
        head: Name in `y_pred`.
        target: Name in `y`; None: the same.

    Raises:
        ValueError: In the function that is returned: there is none of that name.

    Example:
        >>> metric = Accuracy(output_transform=of_head("kind"))
        >>> output = {"y_pred": {"kind": torch.eye(2)}, "y": {"kind": torch.tensor([0, 0])}}
        >>> metric.update(metric._output_transform(output))
        >>> metric.compute()
        0.5
    """
    wanted = head if target is None else target

    def pair(output: Mapping[str, Any]) -> tuple[Any, Any]:
        parts = []
        for key, name in (("y_pred", head), ("y", wanted)):
            values = output[key]
            if not isinstance(values, Mapping) or name not in values:
                there = ", ".join(values) if isinstance(values, Mapping) else type(values).__name__
                raise ValueError(f"{key} has no head {name!r}, but {there}")
            parts.append(values[name])
        y_pred, y = parts
        if isinstance(y, Tensor) and y.ndim == 1 and y_pred.shape == (len(y), 1):
            y = y.unsqueeze(1)
        return y_pred, y

    return pair


def bits_per_character(device: str | torch.device = "cpu") -> Loss:
    """What it takes to say the next character: mean of −log₂ p(y), over all positions.

    It is the cross entropy in bits, which is the loss in nats divided by ln 2.

    Needs logits (or log-probabilities) `[N, C, T]` and class indices `[N, T]`.

    Args:
        device: Where it adds up: that of the predictions, best.

    Example:
        >>> metric = bits_per_character()
        >>> metric.update((torch.zeros(2, 8, 3), torch.zeros(2, 3, dtype=torch.int64)))
        >>> round(metric.compute(), 6)  # eight characters, all as likely
        3.0
    """
    return Loss(_bits, output_transform=_pair, batch_size=_positions, device=device)


def _pair(output: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    return output["y_pred"], output["y"]


def _bits(y_pred: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(y_pred, y) / log(2)


def _positions(y: Tensor) -> int:
    return y.numel()
