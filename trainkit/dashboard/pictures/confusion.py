"""The confusion matrix as a picture."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trainkit.dashboard.pictures.canvas import SMALL, TEXT, TITLE, WIDTH, Canvas, shortened
from trainkit.dashboard.pictures.colours import DARK, GREY, WHITE, blues
from trainkit.dashboard.pictures.names import names_of

__all__ = ["confusion_picture"]

_TOP, _BOTTOM = 46, 124  # pixels above and below the matrix
_HEIGHT = 640


def confusion_picture(
    counts: NDArray[np.int64], *, class_names: Sequence[str] = ()
) -> NDArray[np.uint8]:
    """How often each class was taken for each other: a row is what is true.

    The colour of a cell is its share of the row, from 0 % (white) to 100 % (dark blue). Up to 12
    classes a cell shows its count and this share, up to 20 its count. A class without a sample
    has a grey row.

    Args:
        counts: Shape `[C, C]`; row: the true class, column: the predicted one.
        class_names: Of the C classes.

    Returns:
        uint8, shape `[640, 640, 3]`.

    Cost:
        About 10 ms.

    Example:
        >>> confusion_picture(np.array([[3, 1], [0, 4]]), class_names=("no", "yes")).shape
        (640, 640, 3)
    """
    classes = len(counts)
    totals = counts.sum(1, keepdims=True).astype(np.float64)
    with np.errstate(invalid="ignore"):
        rates = np.where(totals > 0, counts / totals, np.nan)
    canvas = Canvas(WIDTH, _HEIGHT)
    size = TEXT if classes <= 12 else SMALL if classes <= 26 else 13
    names = names_of(classes, class_names, 12 if classes <= 20 else 8)
    left = 38 + int(max(canvas.length(name, size) for name in names))
    side = min(WIDTH - left - 14, _HEIGHT - _TOP - _BOTTOM)
    edges = [round(i * side / classes) for i in range(classes + 1)]
    _title(canvas, counts)
    which = np.searchsorted(np.array(edges[1:]), np.arange(side), side="right")
    canvas.put(blues(rates)[which][:, which], left, _TOP)
    cell = side / classes
    if classes <= 20:
        _cells(canvas, counts, rates, left, edges)
    shown = range(0, classes, max(1, int(np.ceil((size + 2) / cell))))
    flat = all(canvas.length(name, size) < cell - 4 for name in names)
    for i in shown:
        middle = (edges[i] + edges[i + 1]) / 2
        canvas.text(left - 6, _TOP + middle, names[i], size, "rm")
        if flat:
            canvas.text(left + middle, _TOP + side + 6, names[i], size, "mt")
        else:
            name = shortened(names[i], 7)
            canvas.upward(left + middle - size * 0.7, _TOP + side + 4, name, size, "t")
    for edge in edges if classes <= 40 else (0, side):
        canvas.line([(left + edge, _TOP), (left + edge, _TOP + side)], (200, 200, 200))
        canvas.line([(left, _TOP + edge), (left + side, _TOP + edge)], (200, 200, 200))
    canvas.upward(0, _TOP + side / 2, "true class", TEXT)
    canvas.text(left + side / 2, _HEIGHT - 32, "predicted class", TEXT, "ms")
    below = "colour: share of the row, from white (0 %) to dark blue (100 %)"
    canvas.text(left + side / 2, _HEIGHT - 8, below, SMALL, "ms", GREY)
    return canvas.pixels()


def _title(canvas: Canvas, counts: NDArray[np.int64]) -> None:
    total, right = int(counts.sum()), int(np.trace(counts))
    share = f", {100 * right / total:.1f} % right" if total else ""
    canvas.text(12, 12, f"Confusion matrix: {total:,} predictions{share}", TITLE)


def _cells(
    canvas: Canvas,
    counts: NDArray[np.int64],
    rates: NDArray[np.float64],
    left: int,
    edges: Sequence[int],
) -> None:
    """Write the counts, and the rates where there is room."""
    height = edges[1]
    few = len(counts) <= 6
    size = 30 if len(counts) <= 3 else 22 if few else TEXT if len(counts) <= 12 else 14
    for i, row in enumerate(counts.tolist()):
        for j, count in enumerate(row):
            if not count:  # most cells are 0: show the others clearly
                continue
            colour = WHITE if rates[i, j] > 0.5 else DARK
            x = left + (edges[j] + edges[j + 1]) / 2
            y = _TOP + (edges[i] + edges[i + 1]) / 2
            number = f"{count:,}" if count < 100_000 else f"{count / 1000:.0f}k"
            if len(counts) > 12:
                canvas.text(x, y, number, size, "mm", colour)
                continue
            percent = f"{100 * rates[i, j]:.0f} %"
            canvas.text(x, y - min(height * 0.14, 0.4 * size), number, size, "mm", colour)
            small = 22 if len(counts) <= 3 else SMALL if few else 15
            below = min(height * 0.22, 1.1 * size)
            canvas.text(x, y + below, percent, small, "mm", colour)
