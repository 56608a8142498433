"""Pictures of a regression: predicted against true, and residuals."""

import numpy as np
from numpy.typing import NDArray

from trainkit.dashboard.pictures.axes import Axes, rounded_range
from trainkit.dashboard.pictures.canvas import SMALL, TITLE, WIDTH, Canvas
from trainkit.dashboard.pictures.colours import BLUE, DARK, GREY

__all__ = ["predicted_against_true", "residuals_picture"]

_HEIGHT = 640
_BARS = 40


def predicted_against_true(
    sample: NDArray[np.float64], limits: NDArray[np.float64], count: int
) -> NDArray[np.uint8]:
    """Each prediction over its target; on the grey diagonal it is right.

    Both axes are the range of all targets: the same at every evaluation of the same data. A
    prediction beyond it is drawn at the edge, and counted.

    Args:
        sample: Predictions and targets, shape `[n, 2]`; what is not finite is counted only.
        limits: Smallest and largest target of all, shape `[2]`.
        count: How many predictions there were.

    Returns:
        uint8, shape `[640, 640, 3]`.

    Cost:
        About 20 ms.

    Example:
        >>> pairs = np.array([[0.0, 0.5], [1.0, 1.5]])
        >>> predicted_against_true(pairs, np.array([0.5, 1.5]), 2).shape
        (640, 640, 3)
    """
    prediction, target, lost = _finite(sample)
    span = _span(limits)
    canvas = Canvas(WIDTH, _HEIGHT)
    canvas.text(12, 12, f"Predicted against true{_of(sample, count)}", TITLE)
    axes = Axes(canvas, (104, 46, WIDTH - 18, 566), span, span)
    axes.frame("true", "predicted")
    axes.curve(span, span, GREY, 2)
    beyond = axes.points(target, prediction, BLUE)
    _note(canvas, beyond, lost)
    return canvas.pixels()


def residuals_picture(
    sample: NDArray[np.float64], limits: NDArray[np.float64], count: int
) -> NDArray[np.uint8]:
    """Residuals (true minus predicted) over predictions, and how they are distributed.

    The axes follow from the targets: predictions over their range, residuals over as much below
    and above 0. What lies beyond is drawn at the edge, and counted. The bars are shares of all
    residuals.

    Args:
        sample: Predictions and targets, shape `[n, 2]`; what is not finite is counted only.
        limits: Smallest and largest target of all, shape `[2]`.
        count: How many predictions there were.

    Returns:
        uint8, shape `[640, 640, 3]`.

    Cost:
        About 20 ms.

    Example:
        >>> pairs = np.array([[0.0, 0.5], [1.0, 1.5]])
        >>> residuals_picture(pairs, np.array([0.5, 1.5]), 2).shape
        (640, 640, 3)
    """
    prediction, target, lost = _finite(sample)
    residual = target - prediction
    low, high = _span(limits)
    across = rounded_range(-(high - low) / 2, (high - low) / 2)
    canvas = Canvas(WIDTH, _HEIGHT)
    canvas.text(12, 12, f"Residuals (true minus predicted){_of(sample, count)}", TITLE)
    axes = Axes(canvas, (104, 46, WIDTH - 192, 566), (low, high), across)
    axes.frame("predicted", "residual")
    axes.curve((low, high), (0, 0), GREY, 2)
    beyond = axes.points(prediction, residual, BLUE)
    beside = Axes(canvas, (WIDTH - 160, 46, WIDTH - 18, 566), (0.0, 0.5), across)
    beside.frame("share", "", x_ticks=(0.2, 0.4), y_ticks=(), percent="x")
    inside = np.clip(residual, *across)
    shares = np.histogram(inside, _BARS, across)[0] / max(1, len(inside))
    edges = np.linspace(*across, _BARS + 1)
    for share, bottom, top in zip(shares, edges[:-1], edges[1:], strict=True):
        if share:
            (left, low_y) = beside.at(0, float(bottom))
            (right, high_y) = beside.at(min(float(share), 0.5), float(top))
            canvas.box(left + 1, high_y + 1, max(right, left + 2), low_y - 1, fill=BLUE)
    beside.curve((0, 0.5), (0, 0), GREY, 1)
    _note(canvas, beyond, lost)
    return canvas.pixels()


def _finite(
    sample: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    keep = np.isfinite(sample).all(1)
    kept = sample[keep].astype(np.float64)
    return kept[:, 0], kept[:, 1], int((~keep).sum())


def _span(limits: NDArray[np.float64]) -> tuple[float, float]:
    low, high = (float(limit) for limit in limits)
    if not (np.isfinite(low) and np.isfinite(high)):
        return 0.0, 1.0
    return rounded_range(low, high)


def _of(sample: NDArray[np.float64], count: int) -> str:
    some = f"{len(sample):,} of {count:,}" if len(sample) < count else f"{count:,}"
    return f": {some} predictions"


def _note(canvas: Canvas, beyond: int, lost: int) -> None:
    notes = [f"{beyond:,} beyond the axes, drawn at the edge"] if beyond else []
    notes += [f"{lost:,} not finite"] if lost else []
    if notes:
        canvas.text(WIDTH - 18, _HEIGHT - 8, "; ".join(notes), SMALL, "rs", DARK)
