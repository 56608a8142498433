"""Penalties on the size of the weights, as components of a loss."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trainkit.names import matching, parameters_by_name

__all__ = ["L1", "L2"]


class _Penalty(nn.Module, ABC):
    def __init__(
        self,
        model: nn.Module | Mapping[str, nn.Module],
        parameters: Sequence[str] = ("*",),
        exclude: Sequence[str] = (),
    ) -> None:
        super().__init__()
        named = parameters_by_name(model)
        chosen = matching(list(named), parameters, f"{type(self).__name__}.parameters")
        left_out = set(matching(chosen, exclude, f"{type(self).__name__}.exclude"))
        # A tuple, so that the model's parameters do not become parameters of the loss.
        self._penalized = tuple(
            named[name] for name in chosen if name not in left_out and named[name].requires_grad
        )
        if not self._penalized:
            raise ValueError(
                f"{type(self).__name__} needs at least one trainable parameter; "
                f"{list(parameters)} without {list(exclude)} leaves none"
            )

    @abstractmethod
    def norm(self, parameter: Tensor) -> Tensor:
        """What one parameter adds, 0-d."""

    def forward(self, y_pred: Any = None, y: Any = None) -> Tensor:
        """The penalty, 0-d; predictions and targets are ignored."""
        del y_pred, y
        return torch.stack([self.norm(parameter) for parameter in self._penalized]).sum()


class L1(_Penalty):
    """The sum of absolute weights: sum of |w| over all elements of the chosen parameters.

    Frozen parameters are left out.

    Args:
        model: The model, or several by name (their parameters are then `<model>.<parameter>`).
        parameters: Patterns of parameter names.
        exclude: Patterns of names that are left out again.

    Raises:
        ValueError: A pattern matches nothing, or nothing trainable is left.

    Cost: one pass over the chosen parameters.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> _ = nn.init.constant_(model.weight, -3.0)
        >>> L1(model, parameters=["weight"])().item()
        6.0
    """

    pure = True  # calling it changes nothing: monitors may

    def norm(self, parameter: Tensor) -> Tensor:
        """The sum of absolute values."""
        return parameter.abs().sum()


class L2(_Penalty):
    """The sum of squared weights: sum of |w|² over all elements of the chosen parameters.

    There is no factor 1/2: weight λ has the gradient 2λw, the same as `weight_decay=2λ` in SGD.
    Frozen parameters are left out.

    Args:
        model: The model, or several by name (their parameters are then `<model>.<parameter>`).
        parameters: Patterns of parameter names.
        exclude: Patterns of names that are left out again.

    Raises:
        ValueError: A pattern matches nothing, or nothing trainable is left.

    Cost: one pass over the chosen parameters.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> _ = nn.init.constant_(model.weight, -3.0)
        >>> L2(model, parameters=["weight"])().item()
        18.0
    """

    pure = True  # calling it changes nothing: monitors may

    def norm(self, parameter: Tensor) -> Tensor:
        """The sum of squared absolute values."""
        return (
            parameter.abs().square().sum() if parameter.is_complex() else parameter.square().sum()
        )
