"""ROC curves."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trainkit.dashboard.pictures.axes import Axes, legend
from trainkit.dashboard.pictures.canvas import SMALL, TITLE, WIDTH, Canvas
from trainkit.dashboard.pictures.colours import GREY, LINES
from trainkit.dashboard.pictures.names import names_of
from trainkit.stats.outputs.score_counts import area_under_roc, roc_rates

__all__ = ["roc_picture"]

_HEIGHT = 640
_MOST = 10  # curves that can be told apart


def roc_picture(counts: NDArray[np.int64], *, class_names: Sequence[str] = ()) -> NDArray[np.uint8]:
    """The true positive rate over the false positive rate, one class against the others.

    Where there are more than ten classes, those with the smallest areas are drawn. A class has
    the same colour in every picture.

    Args:
        counts: As in `ScoreCounts`, shape `[2, K, T]`.
        class_names: Of the classes. With one curve (K = 1), of two classes: it is the second's.

    Returns:
        uint8, shape `[640, 640, 3]`.

    Cost:
        About 10 ms.

    Example:
        >>> roc_picture(np.array([[[2, 0]], [[0, 2]]])).shape
        (640, 640, 3)
    """
    false_positive, true_positive = roc_rates(counts)
    areas = area_under_roc(counts)
    curves = counts.shape[1]
    names = names_of(2, class_names)[1:] if curves == 1 else names_of(curves, class_names)
    known = np.flatnonzero(np.isfinite(areas))
    canvas = Canvas(WIDTH, _HEIGHT)
    mean = areas[known].mean() if len(known) else np.nan
    word = "area" if curves == 1 else "mean area"
    canvas.text(12, 12, f"ROC: {word} under the curve {mean:.4f}", TITLE)
    axes = Axes(canvas, (104, 46, WIDTH - 18, 582))
    axes.frame("false positive rate", "true positive rate")
    axes.curve((0, 1), (0, 1), GREY, 1)
    drawn = sorted(known[np.argsort(areas[known], kind="stable")][:_MOST].tolist())
    for i in drawn:
        axes.curve(false_positive[i].tolist(), true_positive[i].tolist(), LINES[i % len(LINES)], 3)
    if drawn:
        entries = [(LINES[i % len(LINES)], f"{names[i]}  {areas[i]:.4f}") for i in drawn]
        widest = max(canvas.length(text, SMALL) for _, text in entries)
        legend(canvas, WIDTH - 28 - widest - 38, 572 - (SMALL + 5) * len(entries) - 7, entries)
    return canvas.pixels()
