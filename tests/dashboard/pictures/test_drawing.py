"""What is drawn where, by looking at pixels."""

import numpy as np
import pytest

from tests.dashboard.pictures.seeing import colours, has
from trainkit.dashboard.pictures.axes import Axes, rounded_range, ticks
from trainkit.dashboard.pictures.canvas import Canvas
from trainkit.dashboard.pictures.colours import BLUE, GREY, LIGHT, LINES, RED, blues
from trainkit.dashboard.pictures.confusion import confusion_picture
from trainkit.dashboard.pictures.most_wrong import (
    most_wrong_classes_table,
    most_wrong_images,
)
from trainkit.dashboard.pictures.regression import predicted_against_true, residuals_picture
from trainkit.dashboard.pictures.reliability import reliability_picture
from trainkit.dashboard.pictures.roc import roc_picture


def test_a_cell_has_the_colour_of_its_share_of_the_row() -> None:
    picture = confusion_picture(np.array([[30, 10], [0, 0]]))
    assert has(picture, tuple(blues(np.array(0.75)).tolist()))
    assert has(picture, tuple(blues(np.array(0.25)).tolist()))
    assert has(picture, LIGHT)  # a class without a sample
    right = confusion_picture(np.array([[30, 0], [0, 7]]))
    assert has(right, tuple(blues(np.array(1.0)).tolist()))
    assert not has(right, tuple(blues(np.array(0.25)).tolist()))


@pytest.mark.parametrize("classes", [2, 10, 18, 97, 100])
def test_a_matrix_has_one_size_whatever_the_classes_are_called(classes: int) -> None:
    counts = np.arange(classes * classes).reshape(classes, classes)
    names = [f"a long | name\nof class {i}" for i in range(classes)]
    picture = confusion_picture(counts, class_names=names)
    assert picture.shape == (640, 640, 3)
    assert colours(picture) > 10
    assert (picture != confusion_picture(counts, class_names=("a", "b", "c"))).any()


def test_an_empty_matrix_is_drawn() -> None:
    assert confusion_picture(np.zeros((3, 3), np.int64)).shape == (640, 640, 3)


def test_bars_of_reliability_are_as_high_as_the_accuracy() -> None:
    sums = np.zeros((3, 10))
    sums[:, 9] = 100, 95, 50  # confident in 95 % and right in 50 %
    picture = reliability_picture(sums)
    axes = Axes(Canvas(1, 1), (104, 98, 622, 440))
    x, middle = (round(p) for p in axes.at(0.95, 0.5))
    assert picture[middle + 4, x].tolist() == list(BLUE)
    assert picture[middle - 4, x].tolist() == list(RED)
    top = round(axes.at(0.95, 0.95)[1])
    assert picture[top - 4, x].tolist() != list(RED)
    assert has(picture, GREY)
    empty = round(axes.at(0.45, 0.2)[0]), round(axes.at(0.45, 0.1)[1])
    assert picture[empty[1], empty[0]].tolist() == [255, 255, 255]


def test_a_perfect_roc_goes_up_first() -> None:
    counts = np.zeros((2, 1, 5), np.int64)
    counts[0, 0, 0], counts[1, 0, 4] = 10, 10
    picture = roc_picture(counts, class_names=("no", "yes"))
    assert picture[300, 104].tolist() == list(LINES[0])
    assert picture[47, 300].tolist() == list(LINES[0])
    assert roc_picture(np.zeros((2, 3, 5), np.int64)).shape == (640, 640, 3)


def test_points_lie_where_they_belong_and_those_beyond_at_the_edge() -> None:
    sample = np.array([[5.0, 5.0], [100.0, 5.0], [np.nan, 5.0]])
    picture = predicted_against_true(sample, np.array([0.0, 10.0]), 3)
    axes = Axes(Canvas(1, 1), (104, 46, 622, 566), (0, 10), (0, 10))
    x, y = (round(p) for p in axes.at(5.0, 5.0))
    assert picture[y, x].astype(int)[2] - picture[y, x].astype(int)[0] > 30  # blue
    assert picture[46 + 3, x].astype(int)[2] - picture[46 + 3, x].astype(int)[0] > 30
    residuals = residuals_picture(sample, np.array([0.0, 10.0]), 3)
    assert has(residuals, BLUE)


def test_axes_follow_from_the_targets_and_not_from_the_predictions() -> None:
    """Early and late predictions of the same targets: everything outside the points is equal."""
    target, limits = np.linspace(-2, 3, 50), np.array([-2.0, 3.0])
    for draw in (predicted_against_true, residuals_picture):
        early = draw(np.stack([np.zeros(50), target], 1), limits, 50)
        late = draw(np.stack([target * 0.99, target], 1), limits, 50)
        assert (early != late).any()
        assert (early[:40] == late[:40]).all()  # the title
        assert (early[:, :90] == late[:, :90]).all()  # the numbers of the vertical axis
        assert (early[568:600] == late[568:600]).all()  # those of the horizontal axis


def test_images_are_shown_with_what_they_are_and_what_was_predicted() -> None:
    inputs = np.zeros((5, 1, 4, 4), np.float32)
    inputs[0, 0, 0, 0] = 1.0
    found = np.array([[i, 0, 1, 0.9, 0.1] for i in range(5)])
    picture = most_wrong_images(inputs, found, classes=2, class_names=("cat", "dog"))
    assert picture.shape == (44 + 2 * 210 + 8, 640, 3)
    assert picture[60, 30].tolist() == [255] * 3
    assert picture[60, 100].tolist() == [0] * 3
    assert has(picture, RED, 20)  # the letters
    colour = most_wrong_images(np.random.rand(2, 3, 9, 6), found[:2], classes=2)
    assert colours(colour) > 100


def test_a_name_does_not_break_the_table() -> None:
    found = np.array([[3, 0, 1, 0.9, 0.1]])
    text = most_wrong_classes_table(np.ones((1, 2)), found, classes=2, class_names=("a|b\n", "c"))
    assert text.splitlines()[2] == "| 3 | a\\|b | c | 0.9 | 0.1 | 1 | 1 |"


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (-3.2, 7.1), (1e-7, 3e-7), (-5e6, 2e6), (4, 4), (0, 0)]
)
def test_ranges_hold_what_they_are_for_and_have_some_ticks(low: float, high: float) -> None:
    first, last = rounded_range(low, high)
    assert first <= low + 1e-9 * abs(low)
    assert last >= high - 1e-9 * abs(high)
    assert last > first
    assert 2 <= len(ticks(first, last)) <= 12


def test_a_bin_that_is_not_sure_enough_keeps_its_height() -> None:
    sums = np.zeros((3, 10))
    sums[:, 5] = 100, 55, 90  # confident in 55 % and right in 90 %
    picture = reliability_picture(sums)
    axes = Axes(Canvas(1, 1), (104, 98, 622, 440))
    x, top = (round(p) for p in axes.at(0.55, 0.9))
    assert picture[top + 4, x].tolist() not in ([255, 255, 255], list(RED))
    assert picture[top - 4, x].tolist() == [255, 255, 255]
    assert picture[round(axes.at(0.55, 0.5)[1]), x].tolist() == list(BLUE)
