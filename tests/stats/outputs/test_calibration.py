"""Calibration against a loop over bins."""

from functools import reduce
from itertools import pairwise
from operator import add

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainkit.stats.outputs.calibration import CalibrationTotals, calibration


def by_definition(p: torch.Tensor, y: torch.Tensor, bins: int) -> dict[str, float]:
    confidence, choice = p.max(1)
    error, worst = 0.0, 0.0
    edges = np.linspace(0, 1, bins + 1, dtype=np.float32)
    for low, high in pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            right = (choice[inside] == y[inside]).double().mean()
            gap = abs(float(right - confidence[inside].double().mean()))
            error += gap * inside.sum().item() / len(y)
            worst = max(worst, gap)
    accuracy = (choice == y).double().mean()
    return {
        "expected_calibration_error": error,
        "maximum_calibration_error": worst,
        "overconfidence": float(confidence.double().mean() - accuracy),
    }


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    st.integers(0, 1000),
    st.lists(st.integers(1, 40), min_size=1, max_size=5),
    st.sampled_from([2, 10]),
    st.sampled_from([1, 15]),
)
def test_equals_a_loop_over_bins(seed: int, sizes: list[int], classes: int, bins: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    n = sum(sizes)
    x = torch.randn(n, classes, generator=generator) * 2
    y = torch.randint(0, classes, (n,), generator=generator)
    parts = zip(x.split(sizes), y.split(sizes), strict=True)
    added = reduce(add, [CalibrationTotals.of(a, b, bins=bins) for a, b in parts])
    expected = by_definition(x.softmax(1), y, bins)
    for name, value in added.statistics().items():
        assert value.item() == pytest.approx(expected[name], abs=1e-6), name


def test_binary_pixels_and_ignored() -> None:
    z = torch.tensor([2.0, -2.0, 2.0, 0.5])
    p = torch.stack([torch.sigmoid(-z), torch.sigmoid(z)], 1)
    y = torch.tensor([1, 0, 0, 1])
    expected = by_definition(p, y, 15)
    for shape in ((4,), (4, 1), (2, 1, 2)):
        found = calibration(z.reshape(shape), y.reshape(shape).float(), kind="binary_logits")
        assert found["expected_calibration_error"].item() == pytest.approx(
            expected["expected_calibration_error"]
        )
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    y = torch.randint(0, 3, (2, 4, 4), generator=torch.Generator().manual_seed(1))
    y[0, :2] = 255
    keep = y != 255
    expected = by_definition(x.softmax(1).movedim(1, -1)[keep], y[keep], 15)
    found = calibration(x, y, ignore_index=255)
    for name, value in found.items():
        assert value.item() == pytest.approx(expected[name], abs=1e-6)


def test_targets_may_be_class_probabilities() -> None:
    x, y = (
        torch.randn(6, 3, generator=torch.Generator().manual_seed(0)),
        torch.tensor([0, 1, 2] * 2),
    )
    assert calibration(x, torch.eye(3)[y]) == calibration(x, y)
    with pytest.raises(ValueError, match="one class index per prediction"):
        calibration(x, y[:4])


def test_nan_is_shown_and_nothing_is_nan() -> None:
    x = torch.zeros(3, 2)
    x[0] = torch.nan
    assert calibration(x, torch.zeros(3).long())["expected_calibration_error"].isnan()
    nothing = calibration(torch.zeros(0, 2), torch.zeros(0).long())
    assert nothing["expected_calibration_error"].isnan()
