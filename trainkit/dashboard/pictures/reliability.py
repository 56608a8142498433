"""The reliability diagram: is a network as often right as it is confident?"""

import numpy as np
from numpy.typing import NDArray

from trainkit.dashboard.pictures.axes import Axes, legend
from trainkit.dashboard.pictures.canvas import SMALL, TITLE, WIDTH, Canvas
from trainkit.dashboard.pictures.colours import BLUE, GREY, RED

__all__ = ["reliability_picture"]

_HEIGHT = 640


def reliability_picture(sums: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Accuracy over confidence, in bins, with the number of predictions in each.

    A blue bar is the accuracy in its bin. Red is the difference to the mean confidence there. On
    the grey diagonal both are the same: perfect calibration. An empty bin has no bar. Below, each
    bin's share of all predictions.

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
    main = Axes(canvas, (92, 46, WIDTH - 18, 430))
    main.frame("", "accuracy")
    below = Axes(canvas, (92, 482, WIDTH - 18, 582))
    below.frame("confidence (probability of the predicted class)", "share",
                y_ticks=(0, 0.5, 1), percent="y")  # fmt: skip
    edges = np.linspace(0, 1, bins + 1)
    for i in np.flatnonzero(counts > 0):
        low, high = float(edges[i]), float(edges[i + 1])
        accuracy, promised = float(right[i] / counts[i]), float(confidence[i] / counts[i])
        main.bar(low, high, 0, accuracy, BLUE)
        if np.isfinite(promised):
            main.bar(low, high, accuracy, promised, RED)
        below.bar(low, high, 0, float(counts[i] / total), BLUE)
    # The numbers of the fullest bins only: those of narrow bins would cover each other.
    most = np.argsort(-counts, kind="stable")[:3]
    for i in most[counts[most] > 0]:
        x, y = below.at(float(edges[i] + edges[i + 1]) / 2, float(counts[i] / total))
        text = f"{int(counts[i]):,}"
        half = canvas.length(text, SMALL) / 2
        x = min(max(x, 94 + half), WIDTH - 20 - half)
        canvas.text(x, max(y - 3, 482 + SMALL), text, SMALL, "ms")
    canvas.line([main.at(0, 0), main.at(1, 1)], GREY, 2)
    legend(canvas, 104, 56, [
        (BLUE, "accuracy"),
        (RED, "difference to the confidence"),
        (GREY, "perfect calibration"),
    ])  # fmt: skip
    return canvas.pixels()
