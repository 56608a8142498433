"""The reliability diagram: accuracy against confidence."""

import numpy as np
from numpy.typing import NDArray

from trainkit.dashboard.pictures.axes import Axes
from trainkit.dashboard.pictures.canvas import SMALL, TITLE, WIDTH, Canvas
from trainkit.dashboard.pictures.colours import BLUE, DARK, GREY, RED, WHITE

__all__ = ["reliability_picture"]

_HEIGHT = 640
_NUMBER = 16  # pixels: a bin is 35 pixels wide
_PALE = (160, 195, 230)


def reliability_picture(sums: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Accuracy over confidence, in bins, with the number of predictions in each.

    A bar is as high as the accuracy in its bin. Red above it: the confidence was higher by so much
    (too sure). Its light part: the confidence was lower by so much (not sure enough). On the grey
    diagonal both are the same. An empty bin has no bar. Below, each bin's share of all
    predictions, and their number.

    Args:
        sums: Per bin of confidence: predictions, their confidence, how many were right; shape
            `[3, bins]`, bins of equal width from 0 to 1.

    Returns:
        uint8, shape `[640, 640, 3]`.

    Cost:
        About 5 ms.

    Example:
        >>> reliability_picture(np.array([[0, 4.0], [0, 3.6], [0, 3.0]])).shape
        (640, 640, 3)
    """
    counts, confidence, right = sums
    bins, total = len(counts), float(counts.sum())
    canvas = Canvas(WIDTH, _HEIGHT)
    gap = np.abs(confidence - right).sum() / total if total else np.nan
    canvas.text(12, 12, f"Reliability: expected calibration error {gap:.3f}", TITLE)
    main = Axes(canvas, (104, 98, WIDTH - 18, 440))
    main.frame("", "accuracy")
    below = Axes(canvas, (104, 488, WIDTH - 18, 584))
    below.frame("confidence (probability of the predicted class)", "share",
                y_ticks=(0, 0.5, 1), percent="y")  # fmt: skip
    edges = np.linspace(0, 1, bins + 1)
    for i in np.flatnonzero(counts > 0):
        low, high = float(edges[i]), float(edges[i + 1])
        accuracy, promised = float(right[i] / counts[i]), float(confidence[i] / counts[i])
        main.bar(low, high, 0, accuracy, BLUE)
        if np.isfinite(promised):
            main.bar(low, high, accuracy, promised, RED if promised > accuracy else _PALE)
        share = float(counts[i] / total)
        below.bar(low, high, 0, share, BLUE)
        x, y = below.at((low + high) / 2, share)
        inside = share > 0.8
        colour = WHITE if inside else DARK
        number = _short(int(counts[i]))
        canvas.text(x, y + 16 if inside else y - 3, number, _NUMBER, "ms", colour)
    canvas.line([main.at(0, 0), main.at(1, 1)], GREY, 2)
    meanings = ("accuracy", BLUE), ("too sure", RED), ("not sure enough", _PALE), ("perfect", GREY)
    x = 104.0
    for text, colour in meanings:
        canvas.box(x, 58, x + 20, 74, fill=colour)
        canvas.text(x + 27, 66, text, SMALL, "lm")
        x += canvas.length(text, SMALL) + 48
    return canvas.pixels()


def _short(count: int) -> str:
    """A number in at most four characters.

    Example:
        >>> _short(950), _short(1234), _short(12_345), _short(9_700_000)
        ('950', '1.2k', '12k', '10M')
    """
    if count < 1000:
        return str(count)
    if count < 9950:
        return f"{count / 1e3:.1f}k"
    return f"{count / 1e3:.0f}k" if count < 999_500 else f"{count / 1e6:.0f}M"
