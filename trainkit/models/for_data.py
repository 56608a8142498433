"""A perceptron whose sizes come from the data."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from trainkit.models.mlp import MLP

__all__ = ["mlp_for_data"]


def mlp_for_data(
    data: Any,
    hidden: Sequence[int] = (64, 32),
    activation: str = "relu",
    dropout: float = 0.0,
    output: str | None = None,
) -> MLP:
    """A perceptron with as many inputs and outputs as the first batch of the data asks for.

    Targets that are integers are classes: an output for each of `data.classes`. Others are
    values: an output for each.

    Args:
        data: With `train`, batches `(x, y)` of tensors, and `classes`.
        hidden: Width of each hidden layer; empty: a linear model.
        activation: After each hidden layer, as in `MLP`.
        dropout: Share of the hidden units that is left out in training.
        output: What the outputs go through at the end, as in `MLP`.

    Raises:
        TypeError: The batches are no pairs of tensors.
        ValueError: The targets are integers and nothing says how many classes there are.

    Example:
        >>> import torch
        >>> from types import SimpleNamespace
        >>> batch = (torch.zeros(4, 7), torch.zeros(4, dtype=torch.long))
        >>> model = mlp_for_data(SimpleNamespace(train=[batch], classes=("a", "b", "c")))
        >>> model(batch[0]).shape
        torch.Size([4, 3])
    """
    batch = next(iter(data.train))
    pair = isinstance(batch, tuple | list) and len(batch) == 2
    if not pair or not all(isinstance(item, Tensor) and item.ndim for item in batch):
        raise TypeError(
            "model: mlp_for_data needs batches (x, y) of two tensors, got "
            f"{type(batch).__name__}; set model=mlp and its sizes"
        )
    x, y = batch
    outputs = y.shape[1] if y.ndim > 1 else 1
    if not y.is_floating_point():
        outputs = len(data.classes)
        if not outputs:
            raise ValueError(
                "model: mlp_for_data cannot tell how many classes there are, data.classes is "
                "empty; set model=mlp and model.out_features"
            )
    return MLP(x[0].numel(), outputs, hidden, activation, dropout, output)
