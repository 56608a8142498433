"""Pictures as bytes: tensors to uint8 on their device, figures to pixels, pixels to PNG."""

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Pixels", "figure_pixels", "grid", "pixels", "png"]

# uint8, shape [N, C, H, W] or [H, W, C]
Pixels = NDArray[np.uint8]

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def pixels(tag: str, image: Tensor) -> Tensor:
    """A copy of the image as uint8, shape `[N, C, H, W]`, on its device.

    uint8 is taken as it is; floats and bool run from 0 (black) to 1 (white): what is outside is
    clipped, NaN is black.

    Raises:
        TypeError: Not a tensor, or of a dtype that says nothing about brightness.
        ValueError: A shape that is no image.
    """
    if not isinstance(image, Tensor):
        raise TypeError(f"image {tag!r} must be a tensor, got {type(image).__name__}")
    if image.dtype != torch.uint8 and image.dtype != torch.bool and not image.is_floating_point():
        raise TypeError(
            f"image {tag!r} must be uint8, or floating point in [0, 1], got {image.dtype}; "
            "convert it with .to(torch.uint8) or divide by its largest value"
        )
    shape = list(image.shape)
    four = [1] * (4 - image.dim()) + shape
    if not 2 <= image.dim() <= 4 or four[1] not in _MODES or 0 in shape:
        raise ValueError(
            f"image {tag!r} must have shape [H, W], [C, H, W] or [N, C, H, W] with C in 1, 3, 4 "
            f"and no empty dimension, got {shape}"
        )
    image = image.detach().reshape(four)
    if image.dtype == torch.uint8:
        # On a busy machine torch's threads wait for each other longer than one takes to copy.
        return torch.from_numpy(image.numpy().copy()) if image.is_cpu else image.clone()
    bright = image.float().nan_to_num(0.0).clamp(0.0, 1.0)
    return (bright * 255.0).round().to(torch.uint8)


def grid(images: Pixels) -> Pixels:
    """Images `[N, C, H, W]` side by side in one of shape `[H', W', C]`, as square as it gets."""
    n, channels, height, width = images.shape
    columns = int(np.ceil(np.sqrt(n)))
    rows = -(-n // columns)
    if n < rows * columns:
        blank = np.zeros((rows * columns - n, channels, height, width), np.uint8)
        images = np.concatenate([images, blank])
    tiles = images.reshape(rows, columns, channels, height, width).transpose(0, 3, 1, 4, 2)
    return tiles.reshape(rows * height, columns * width, channels)


def png(image: Pixels) -> bytes:
    """The image, shape `[H, W, C]`, as PNG: a tenth larger than possible, in 60 % of the time."""
    from PIL import Image

    buffer = io.BytesIO()
    if image.flags.c_contiguous and image.shape[2] > 1:
        picture = Image.fromarray(image)
    else:
        # pillow puts bands together much faster than NumPy transposes them.
        bands = [Image.fromarray(np.ascontiguousarray(band)) for band in np.moveaxis(image, 2, 0)]
        picture = bands[0] if len(bands) == 1 else Image.merge(_MODES[len(bands)], bands)
    picture.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def figure_pixels(tag: str, figure: "Figure") -> Tensor:
    """The figure as RGB, shape `[1, 3, H, W]`, at its own resolution; the figure stays open.

    Raises:
        TypeError: Something that has no `savefig`.
    """
    from PIL import Image

    save: Any = getattr(figure, "savefig", None)
    if save is None:
        raise TypeError(
            f"figure {tag!r} must be a matplotlib Figure or have its savefig(file, format=...), "
            f"got {type(figure).__name__}"
        )
    buffer = io.BytesIO()
    save(buffer, format="png")
    with Image.open(buffer) as picture:
        array = np.array(picture.convert("RGB"))
    return torch.from_numpy(array).permute(2, 0, 1)[None]
