"""What is computed on the host, against its definition, step by step."""

import math
from typing import Any

import numpy as np
import pytest

from trainkit.stats.parameters.chosen import Chosen, norm_of_norms
from trainkit.stats.parameters.gradient_values import GradientValues, RawGradients, skipped_step
from trainkit.stats.parameters.own_values import OwnValues
from trainkit.stats.parameters.update_values import UpdateValues, ratio
from trainkit.stats.parameters.weight_values import NormOfAll, WeightValues

STEPS, TENSORS = 3, 4
ALL = Chosen(range(TENSORS), series=TENSORS)
PAIRS = Chosen([0, 1, 3], [0, 1, 0], 2, (2, 3, 5, 7))  # the third is not shown


def numbers(*shape: int) -> Any:
    return np.random.default_rng(0).uniform(0.5, 2.0, shape)


def test_gradients_step_by_step() -> None:
    table, raw = numbers(STEPS, 6, TENSORS), 2 * numbers(STEPS, TENSORS)
    scale, after = numbers(STEPS), 3 * numbers(STEPS)
    columns = ("norm", "mean", "std", "max_abs", "zero_fraction")
    finish = GradientValues(ALL, columns, True, RawGradients(None, None, True))
    found = finish(table, raw, scale, after)
    assert found.shape == (STEPS, 8 + 5 * TENSORS)
    for step in range(STEPS):
        norms = table[step, 0] / scale[step]
        left = raw[step] / after[step]
        total, total_raw = math.hypot(*norms), math.hypot(*left)
        own = [
            total, math.log10(total), table[step, 5].sum(),
            math.log10(min(norms)), math.log10(max(norms)),
            total_raw, math.log10(total_raw), float(any(norms < left * (1 - 1e-5))),
        ]  # fmt: skip
        series = [*(table[step, :4] / scale[step]).reshape(-1), *table[step, 4]]
        assert found[step].tolist() == pytest.approx(own + series)
        assert finish.norms(table, raw, scale, after)[step].tolist() == pytest.approx(norms)


def test_only_gradients_that_are_in_both_are_compared() -> None:
    seen, raw = np.array([[1.0, 5.0]]), np.array([[9.0, 5.0, 1.0]])
    table = np.stack([seen, np.zeros_like(seen)], axis=1)
    chosen = Chosen([])
    clipped = [
        GradientValues(chosen, (), False, RawGradients(a, b, False))(table, raw)[0, -1]
        for a, b in (([2, 1], [0, 1]), ([0], [0]))
    ]
    assert clipped == [0.0, 1.0]


def test_a_norm_that_is_smaller_by_rounding_was_not_clipped() -> None:
    for smaller, clipped in ((1 - 5e-6, 0.0), (1 - 5e-5, 1.0)):
        table = np.array([[[smaller], [0.0]]])
        finish = GradientValues(Chosen([]), (), False, RawGradients(None, None, False))
        assert finish(table, np.array([[1.0]]))[0, -1] == clipped


def test_a_skipped_step() -> None:
    found = skipped_step(np.array([[3.0, 4.0], [np.inf, 1.0]]), np.array([[0.0, 0.0], [2.0, 1.0]]))
    assert found.tolist() == [[5.0, 0.0], [math.inf, 3.0]]


def test_updates_step_by_step() -> None:
    distances, found_inf = numbers(STEPS, 2, TENSORS), np.array([0.0, 1.0, 0.0])
    found = UpdateValues(ALL, True, (-4.0, -2.0))(distances, found_inf)
    each = UpdateValues(ALL, True).each(distances, found_inf)
    for step in range(STEPS):
        if found_inf[step]:
            assert found[step, 0] == 1
            assert np.isnan(found[step, [1, 2, *range(5, 5 + TENSORS)]]).all()
            assert np.isnan(each[step]).all()
            continue
        moved, before = distances[step]
        total = math.hypot(*moved) / math.hypot(*before)
        own = [0.0, total, math.log10(total), -4.0, -2.0]
        assert found[step].tolist() == pytest.approx([*own, *(moved / before)])
        assert each[step].tolist() == pytest.approx(moved / before)


def test_updates_of_modules_are_ratios_of_pooled_norms() -> None:
    distances = numbers(1, 2, TENSORS)
    moved, before = distances[0]
    expected = [
        math.hypot(moved[0], moved[3]) / math.hypot(before[0], before[3]), moved[1] / before[1],
    ]  # fmt: skip
    found = UpdateValues(PAIRS, False)(distances)
    assert found[0, 2:].tolist() == pytest.approx(expected)


def test_ratios_from_zero() -> None:
    found = ratio(np.array([2.0, 0.0, 3.0, math.nan]), np.array([0.0, 0.0, 4.0, 1.0]))
    assert found[:3].tolist() == [1.0, 0.0, 0.75]
    assert math.isnan(found[3])


def test_weights_of_modules() -> None:
    table = numbers(STEPS, 2, TENSORS)
    found = WeightValues(PAIRS, ("norm", "mean"), True)(table)
    for step in range(STEPS):
        norm, mean = table[step]
        expected = [
            math.hypot(*norm),
            math.hypot(norm[0], norm[3]), norm[1],
            (2 * mean[0] + 7 * mean[3]) / 9, mean[1],
        ]  # fmt: skip
        assert found[step].tolist() == pytest.approx(expected)


def test_the_norm_over_optimizers_counts_what_is_shared_once() -> None:
    one, other = np.array([[3.0, 1.0]]), np.array([[1.0, 4.0]])
    assert NormOfAll([[0], [1]])(one, other).tolist() == [[5.0]]


def test_columns_of_somebodys_own_over_two_devices() -> None:
    finish = OwnValues(
        "Range", lambda m: {"range": m.max(m["high"]) - m["low"].min()}, ("range",),
        Chosen([0, 1, 2], series=3, elements=(1, 1, 1)), ("low", "high"), [(0, 2), (1,)],
    )  # fmt: skip
    here, there = np.array([[[1.0, 2.0], [5.0, 6.0]]]), np.array([[[0.5], [7.0]]])
    assert finish(here, there).tolist() == [[4.5, 6.5, 5.5]]
    lacking = OwnValues(
        "Range", lambda m: {}, ("range",), finish.chosen, ("low", "high"), [(0, 1, 2)]
    )
    with pytest.raises(ValueError, match=r"Range.pool\(\) must return range too"):
        lacking(np.ones((1, 2, 3)))


def test_norm_of_norms_of_tiny_and_large_float32() -> None:
    norms = np.array([3e-30, 4e-30], np.float32)
    assert norm_of_norms(norms) == pytest.approx(5e-30)
    assert norm_of_norms(np.array([3e30, 4e30], np.float32)) == pytest.approx(5e30)
