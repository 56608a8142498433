"""A multi-layer perceptron."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from trainkit.models.layers import activation_layer, output_layer
from trainkit.models.sizes import check_share, check_size, check_sizes

__all__ = ["MLP"]


class MLP(nn.Sequential):
    """Linear layers with an activation between them; whatever is behind the batch is flattened.

    Args:
        in_features: Numbers per sample.
        out_features: Outputs per sample: classes, or values.
        hidden: Width of each hidden layer; empty: a linear model.
        activation: After each hidden layer: `relu`, `tanh`, `gelu`, `silu`, `elu`, `leaky_relu`,
            `sigmoid`.
        dropout: Share of the hidden units that is left out in training.
        output: What the outputs go through at the end: `log_softmax`, `softmax`, `sigmoid`;
            None: nothing.

    Raises:
        TypeError: A size is not an integer.
        ValueError: A size or a share out of range, or an unknown name.

    Example:
        >>> import torch
        >>> MLP(in_features=64, out_features=10, hidden=[32])(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 10])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        hidden: Sequence[int] = (64,),
        activation: str = "relu",
        dropout: float = 0.0,
        output: str | None = None,
    ) -> None:
        check_size("model.in_features", in_features)
        check_size("model.out_features", out_features)
        check_sizes("model.hidden", hidden)
        check_share("model.dropout", dropout)
        layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
        width = in_features
        for number, next_width in enumerate(hidden, start=1):
            layers[f"linear_{number}"] = nn.Linear(width, next_width)
            layers[f"activation_{number}"] = activation_layer(activation)
            if dropout:
                layers[f"dropout_{number}"] = nn.Dropout(dropout)
            width = next_width
        layers["output"] = nn.Linear(width, out_features)
        if output is not None:
            layers[output] = output_layer(output)
        super().__init__(layers)
