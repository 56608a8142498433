"""An image to draw on, with text that is readable on a card of TensorBoard."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainkit.dashboard.pictures.colours import DARK, WHITE, Colour

__all__ = ["SMALL", "TEXT", "TITLE", "WIDTH", "Canvas", "shortened"]

# TensorBoard shows a picture 350 to 450 pixels wide, at about 60 % of its size: small text is then
# 11 pixels high. A click shows it in full.
WIDTH = 640
TITLE, TEXT, SMALL = 24, 20, 18


class Canvas:
    """A white image, and what draws on it; positions are in pixels from the upper left corner.

    Args:
        width: In pixels.
        height: In pixels.

    Example:
        >>> canvas = Canvas(40, 20)
        >>> canvas.line([(0, 10), (39, 10)], (255, 0, 0))
        >>> canvas.pixels()[10, 5].tolist(), canvas.pixels()[0, 0].tolist()
        ([255, 0, 0], [255, 255, 255])
    """

    def __init__(self, width: int, height: int) -> None:
        from PIL import Image, ImageDraw  # takes 20 ms: only where something is drawn

        self.width, self.height = width, height
        self.image: Any = Image.new("RGB", (width, height), WHITE)
        self._draw: Any = ImageDraw.Draw(self.image)

    def pixels(self) -> NDArray[np.uint8]:
        """The picture, shape `[height, width, 3]`."""
        return np.array(self.image, np.uint8)

    def text(
        self, x: float, y: float, text: str, size: int = TEXT, anchor: str = "lt",
        colour: Colour = DARK,
    ) -> None:  # fmt: skip
        """Write a line of text.

        Args:
            x: Of the anchor.
            y: Of the anchor.
            text: One line.
            size: Of the font, in pixels.
            anchor: Which point of the text is at `(x, y)`: left, middle or right (`l`, `m`, `r`),
                then top, middle, or baseline (`t`, `m`, `s`).
            colour: Of the text.
        """
        self._draw.text((x, y), text, fill=colour, font=_font(size), anchor=anchor)

    def upward(self, x: float, y: float, text: str, size: int = TEXT, anchor: str = "m") -> None:
        """Write a line of text from bottom to top.

        Args:
            x: Of its left edge.
            y: Of its middle; with the anchor `t`, of its upper end.
            text: One line.
            size: Of the font, in pixels.
            anchor: `m` or `t`.
        """
        from PIL import Image, ImageDraw

        font = _font(size)
        length = int(font.getlength(text)) + 2
        line = Image.new("RGB", (length, int(size * 1.4)), WHITE)
        ImageDraw.Draw(line).text((1, size * 0.7), text, fill=DARK, font=font, anchor="lm")
        turned = line.rotate(90, expand=True)
        self.image.paste(turned, (int(x), int(y if anchor == "t" else y - length / 2)))

    def length(self, text: str, size: int = TEXT) -> float:
        """How long a line of text is, in pixels."""
        return float(_font(size).getlength(text))

    def line(self, points: Sequence[tuple[float, float]], colour: Colour, width: int = 1) -> None:
        """Draw lines from point to point."""
        self._draw.line(list(points), fill=colour, width=width)

    def box(
        self, left: float, top: float, right: float, bottom: float,
        fill: Colour | None = None, outline: Colour | None = None,
    ) -> None:  # fmt: skip
        """Draw a rectangle; nothing where it has no area."""
        if right > left and bottom > top:
            self._draw.rectangle((left, top, right, bottom), fill=fill, outline=outline)

    def paste(self, pixels: NDArray[np.uint8], x: int, y: int, size: tuple[int, int]) -> None:
        """Draw another image `[h, w, 3]` with its upper left corner at `(x, y)`.

        It is brought to this size, (width, height), with hard edges between its pixels.
        """
        from PIL import Image

        picture = Image.fromarray(np.ascontiguousarray(pixels))
        self.image.paste(picture.resize(size, Image.Resampling.NEAREST), (x, y))

    def put(self, pixels: NDArray[np.uint8], x: int, y: int) -> None:
        """Draw another image `[h, w, 3]` as it is."""
        from PIL import Image

        self.image.paste(Image.fromarray(np.ascontiguousarray(pixels)), (x, y))


def shortened(text: str, most: int) -> str:
    """The text in at most so many characters, on one line; its beginning and its end are kept.

    Example:
        >>> shortened("class number 12", 8)
        'clas… 12'
    """
    line = " ".join(text.split()) or repr(text)
    if len(line) <= most:
        return line
    end = (most - 1) // 2
    return f"{line[: most - 1 - end]}…{line[len(line) - end :]}"


@lru_cache(maxsize=8)
def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size=size)
