"""Axes: a frame with ticks and labels, and where a point of the data lies in the picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

import numpy as np
from numpy.typing import NDArray

from trainkit.dashboard.pictures.canvas import SMALL, TEXT, Canvas
from trainkit.dashboard.pictures.colours import DARK, GREY, LIGHT, WHITE, Colour

__all__ = ["Axes", "legend", "rounded_range", "ticks"]


@dataclass(frozen=True)
class Axes:
    """A part of a canvas in which data are drawn.

    Args:
        canvas: To draw on.
        area: Left, top, right and bottom of the frame, in pixels.
        x: First and last value of the horizontal axis.
        y: First and last value of the vertical axis, which goes upwards.
    """

    canvas: Canvas
    area: tuple[int, int, int, int]
    x: tuple[float, float] = (0.0, 1.0)
    y: tuple[float, float] = (0.0, 1.0)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The pixel of a point of the data.

        Example:
            >>> Axes(Canvas(100, 100), (10, 10, 90, 90)).at(0.5, 1.0)
            (50.0, 10.0)
        """
        left, top, right, bottom = self.area
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return left + across * (right - left), bottom - up * (bottom - top)

    def frame(
        self, x_label: str = "", y_label: str = "", *, x_ticks: Sequence[float] | None = None,
        y_ticks: Sequence[float] | None = None, percent: str = "",
    ) -> None:  # fmt: skip
        """Draw the grid, the frame, the numbers and the labels; before the data.

        Args:
            x_label: What the horizontal axis is.
            y_label: What the vertical axis is.
            x_ticks: Values to mark; None chooses.
            y_ticks: Values to mark; None chooses.
            percent: Axes (`x`, `y`, `xy`) whose numbers are shares, shown as percentages.
        """
        left, top, right, bottom = self.area
        canvas = self.canvas
        across = ticks(*self.x) if x_ticks is None else x_ticks
        up = ticks(*self.y) if y_ticks is None else y_ticks
        widest = 0.0
        for value, text in zip(across, _numbers(across, "x" in percent), strict=True):
            x, _ = self.at(value, self.y[0])
            canvas.line([(x, top), (x, bottom)], LIGHT)
            canvas.text(x, bottom + 5, text, SMALL, "mt")
        for value, text in zip(up, _numbers(up, "y" in percent), strict=True):
            _, y = self.at(self.x[0], value)
            canvas.line([(left, y), (right, y)], LIGHT)
            canvas.text(left - 5, y, text, SMALL, "rm")
            widest = max(widest, canvas.length(text, SMALL))
        canvas.box(left, top, right, bottom, outline=GREY)
        if x_label:
            canvas.text((left + right) / 2, bottom + 9 + SMALL, x_label, TEXT, "mt")
        if y_label:
            place = max(0.0, left - 12 - widest - TEXT * 1.4)
            canvas.upward(place, (top + bottom) / 2, y_label, TEXT)

    def curve(self, x: Sequence[float], y: Sequence[float], colour: Colour, width: int = 2) -> None:
        """Draw a line through points; those that are not finite are left out."""
        pairs = zip(x, y, strict=True)
        points = [self.at(a, b) for a, b in pairs if np.isfinite(a) and np.isfinite(b)]
        if len(points) > 1:
            self.canvas.line(points, colour, width)

    def bar(self, x0: float, x1: float, y0: float, y1: float, colour: Colour) -> None:
        """Draw a filled rectangle between two values on each axis."""
        (left, low), (right, high) = self.at(x0, y0), self.at(x1, y1)
        self.canvas.box(round(left) + 1, min(low, high), round(right) - 1, max(low, high), colour)

    def points(
        self, x: NDArray[np.float64], y: NDArray[np.float64], colour: Colour, radius: int = 3
    ) -> int:
        """Draw many points: darker where more lie upon each other.

        A point beyond the axes is drawn at their edge.

        Args:
            x: Shape `[N]`, finite.
            y: Shape `[N]`, finite.
            colour: Of the points.
            radius: In pixels.

        Returns:
            How many lie beyond the axes.
        """
        left, top, right, bottom = self.area
        across, up = self.at(0, 0), self.at(1, 1)
        px = across[0] + x * (up[0] - across[0])
        py = across[1] + y * (up[1] - across[1])
        beyond = (px < left) | (px > right) | (py < top) | (py > bottom)
        width = right - left + 1
        column = np.round(np.clip(px, left + radius, right - radius)).astype(int) - left
        row = np.round(np.clip(py, top + radius, bottom - radius)).astype(int) - top
        disk = np.array(
            [
                dy * width + dx
                for dx in range(-radius, radius + 1)
                for dy in range(-radius, radius + 1)
                if dx * dx + dy * dy <= radius * radius + 1
            ]
        )
        place = ((row * width + column)[:, None] + disk).ravel()
        touched, count = np.unique(place, return_counts=True)
        there = np.array(self.canvas.image.crop((left, top, right + 1, bottom + 1)))
        flat = there.reshape(-1, 3)
        clear = (0.55**count)[:, None]
        mixed = flat[touched] * clear + np.array(colour, np.float64) * (1 - clear)
        flat[touched] = np.round(mixed)
        self.canvas.put(there, left, top)
        return int(beyond.sum())


def legend(canvas: Canvas, x: float, y: float, entries: Sequence[tuple[Colour, str]]) -> None:
    """Draw a box with what each colour means, its upper left corner at `(x, y)`."""
    widest = max(canvas.length(text, SMALL) for _, text in entries)
    step = SMALL + 5
    canvas.box(x, y, x + widest + 38, y + step * len(entries) + 7, fill=WHITE, outline=LIGHT)
    for i, (colour, text) in enumerate(entries):
        top = y + 5 + i * step
        canvas.box(x + 7, top + 2, x + 25, top + SMALL - 2, fill=colour)
        canvas.text(x + 31, top + SMALL / 2 + 1, text, SMALL, "lm", DARK)


def ticks(first: float, last: float, about: int = 5) -> list[float]:
    """Round numbers between two values, about so many.

    Example:
        >>> ticks(0, 1), ticks(-3, 3)
        ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [-2.0, 0.0, 2.0])
    """
    step = _step(last - first, about)
    low, high = ceil(first / step - 1e-9), floor(last / step + 1e-9)
    return [round(i * step, 12) for i in range(low, high + 1)]


def rounded_range(low: float, high: float) -> tuple[float, float]:
    """A range of round numbers that holds these two; never empty.

    Example:
        >>> rounded_range(25.0, 346.0), rounded_range(2.0, 2.0)
        ((0.0, 400.0), (1.0, 3.0))
    """
    if not high > low:
        half = abs(low) / 2 or 1.0
        low, high = low - half, high + half
    step = _step(high - low, 5)
    return floor(low / step + 1e-9) * step, ceil(high / step - 1e-9) * step


def _step(length: float, about: int) -> float:
    """1, 2 or 5 times a power of ten."""
    rough = length / about
    power = 10.0 ** floor(log10(rough)) if rough > 0 else 1.0
    return next((m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999), 10 * power)


def _numbers(values: Sequence[float], percent: bool) -> list[str]:
    if percent:
        return [f"{round(100 * value):d} %" for value in values]
    return [f"{value:.6g}" for value in values]
