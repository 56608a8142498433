"""A small DCGAN for small images: a generator and a discriminator."""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from trainkit.models.sizes import check_share, check_size, check_sizes

__all__ = ["DCGANDiscriminator", "DCGANGenerator"]


class DCGANGenerator(nn.Sequential):
    """Latent vectors in, images in [−1, 1] out: transposed convolutions that each double the size.

    A linear layer makes the first, smallest feature maps; batch normalization and ReLU everywhere
    but at the end, which is tanh. Weights start from N(0, 0.02²).

    Args:
        latent: Numbers per latent vector.
        image_size: Height and width, in pixels.
        channels: Of the feature maps, from the smallest (in pixels) on; each doubles the size.
        out_channels: Of the images.

    Raises:
        TypeError: A size is not an integer.
        ValueError: A size out of range, or one that so many doublings do not reach.

    Example:
        >>> import torch
        >>> DCGANGenerator(latent=16)(torch.zeros(5, 16)).shape
        torch.Size([5, 1, 8, 8])

    Source: A. Radford, L. Metz, S. Chintala, "Unsupervised Representation Learning with Deep
    Convolutional Generative Adversarial Networks", 2015.
    """

    def __init__(
        self,
        latent: int = 32,
        image_size: int = 8,
        channels: Sequence[int] = (64, 32),
        out_channels: int = 1,
    ) -> None:
        check_size("model.generator.latent", latent)
        size = _smallest("model.generator", image_size, channels)
        check_size("model.generator.out_channels", out_channels)
        widths = [*channels, out_channels]
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            project=nn.Linear(latent, channels[0] * size * size, bias=False),
            unflatten=nn.Unflatten(1, (channels[0], size, size)),
        )
        for block, (inputs, outputs) in enumerate(pairwise(widths), start=1):
            layers[f"norm_{block}"] = nn.BatchNorm2d(inputs)
            layers[f"activation_{block}"] = nn.ReLU()
            # A bias before a normalization would have no effect.
            last = block == len(channels)
            layers[f"deconv_{block}"] = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=last)
        layers["tanh"] = nn.Tanh()
        super().__init__(layers)
        self.apply(_start)


class DCGANDiscriminator(nn.Sequential):
    """Images in, one logit each out: how much more likely real than made.

    Convolutions that each halve the size, leaky ReLU and dropout after each, and a linear layer.
    There is no batch normalization, so that no image is judged by the others of its batch.
    Weights start from N(0, 0.02²).

    Args:
        image_size: Height and width, in pixels.
        channels: Of the feature maps, from the largest (in pixels) on; each halves the size.
        in_channels: Of the images.
        dropout: Share of the features that is left out in training.

    Raises:
        TypeError: A size is not an integer.
        ValueError: A size or a share out of range, or a size that cannot be halved so often.

    Example:
        >>> import torch
        >>> DCGANDiscriminator()(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5])

    Source: as `DCGANGenerator`.
    """

    def __init__(
        self,
        image_size: int = 8,
        channels: Sequence[int] = (32, 64),
        in_channels: int = 1,
        dropout: float = 0.3,
    ) -> None:
        size = _smallest("model.discriminator", image_size, channels)
        check_size("model.discriminator.in_channels", in_channels)
        check_share("model.discriminator.dropout", dropout)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        widths = [in_channels, *channels]
        for block, (inputs, outputs) in enumerate(pairwise(widths), start=1):
            layers[f"conv_{block}"] = nn.Conv2d(inputs, outputs, 4, 2, 1)
            layers[f"activation_{block}"] = nn.LeakyReLU(0.2)
            if dropout:
                layers[f"dropout_{block}"] = nn.Dropout(dropout)
        layers["flatten"] = nn.Flatten()
        layers["output"] = nn.Linear(channels[-1] * size * size, 1)
        super().__init__(layers)
        self.apply(_start)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, shape `[N]`."""
        logits: Tensor = super().forward(images)  # type: ignore[no-untyped-call]
        return logits.squeeze(1)


def _smallest(key: str, image_size: int, channels: Sequence[int]) -> int:
    """Height and width of the smallest feature maps."""
    check_size(f"{key}.image_size", image_size)
    check_sizes(f"{key}.channels", channels)
    size = image_size >> len(channels)
    if not channels or size << len(channels) != image_size or not size:
        raise ValueError(
            f"{key}.channels must name one or more halvings of {key}.image_size={image_size}, "
            f"and each must be without a rest; got {len(channels)}"
        )
    return size


def _start(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
