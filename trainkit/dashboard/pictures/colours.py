"""The colours of all pictures, and colour scales."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["BLUE", "DARK", "GREY", "LIGHT", "LINES", "RED", "WHITE", "Colour", "blues"]

Colour = tuple[int, int, int]

WHITE: Colour = (255, 255, 255)
DARK: Colour = (40, 40, 40)
GREY: Colour = (120, 120, 120)
LIGHT: Colour = (225, 225, 225)
BLUE: Colour = (66, 113, 174)
RED: Colour = (214, 96, 77)

# Twelve colours that can be told apart; a class has the same colour in every picture.
LINES: tuple[Colour, ...] = (
    (31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189), (140, 86, 75),
    (227, 119, 194), (127, 127, 127), (188, 189, 34), (23, 190, 207), (0, 0, 0), (120, 190, 120),
)  # fmt: skip


def blues(share: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Colours from white (0) to dark blue (1); grey where the share is NaN.

    Args:
        share: Of any shape `[...]`.

    Returns:
        Shape `[..., 3]`.

    Example:
        >>> blues(np.array([0.0, np.nan])).tolist()
        [[255, 255, 255], [225, 225, 225]]
    """
    position = np.nan_to_num(np.clip(share, 0, 1))[..., None]
    colour = 255 + position * (np.array([8.0, 48.0, 107.0]) - 255)
    colour = np.where(np.isnan(share)[..., None], np.array(LIGHT, np.float64), colour)
    return np.round(colour).astype(np.uint8)
