"""A small convolutional network for small images."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from trainkit.models.layers import activation_layer, output_layer
from trainkit.models.sizes import check_share, check_size, check_sizes

__all__ = ["CNN"]


class CNN(nn.Sequential):
    """Blocks of two 3 × 3 convolutions and a 2 × 2 max-pooling, then one hidden linear layer.

    Args:
        classes: Outputs per image.
        image_size: Height and width, in pixels; each block halves it.
        in_channels: Of the images.
        channels: Channels of each block.
        hidden: Width of the linear layer.
        activation: After each convolution and the linear layer, as in `MLP`.
        dropout: Share of the hidden units that is left out in training.
        output: What the outputs go through at the end, as in `MLP`; None: nothing.

    Raises:
        TypeError: A size is not an integer.
        ValueError: A size or a share out of range, an unknown name, or more blocks than the
            image can be halved.

    Example:
        >>> import torch
        >>> CNN()(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 10])
    """

    def __init__(
        self,
        classes: int = 10,
        image_size: int = 8,
        in_channels: int = 1,
        channels: Sequence[int] = (32, 64),
        hidden: int = 128,
        activation: str = "relu",
        dropout: float = 0.25,
        output: str | None = None,
    ) -> None:
        check_size("model.classes", classes)
        check_size("model.image_size", image_size)
        check_size("model.in_channels", in_channels)
        check_sizes("model.channels", channels)
        check_size("model.hidden", hidden)
        check_share("model.dropout", dropout)
        size = image_size >> len(channels)
        if not size:
            raise ValueError(
                f"model.channels asks for {len(channels)} blocks, but an image of model.image_size="
                f"{image_size} can be halved {image_size.bit_length() - 1} times"
            )
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        inputs = in_channels
        for block, outputs in enumerate(channels, start=1):
            for half in "ab":
                layers[f"conv_{block}{half}"] = nn.Conv2d(inputs, outputs, 3, padding=1)
                layers[f"activation_{block}{half}"] = activation_layer(activation)
                inputs = outputs
            layers[f"pool_{block}"] = nn.MaxPool2d(2)
        layers["flatten"] = nn.Flatten()
        layers["linear"] = nn.Linear(inputs * size * size, hidden)
        layers["activation"] = activation_layer(activation)
        if dropout:
            layers["dropout"] = nn.Dropout(dropout)
        layers["output"] = nn.Linear(hidden, classes)
        if output is not None:
            layers[output] = output_layer(output)
        super().__init__(layers)
