import math

import numpy as np
import pytest

from trainkit.stats.logarithm import LOWEST, log10, log10_extremes


@pytest.mark.parametrize("value", [1e-30, 3e-8, 1.0, 7e20])
def test_log10_is_that_of_the_math_module(value: float) -> None:
    assert float(log10(value)) == pytest.approx(math.log10(value))


def test_zero_is_finite_and_below_every_normal_float32() -> None:
    assert float(log10(0.0)) == LOWEST < math.log10(np.finfo(np.float32).tiny)


def test_nan_and_infinity_stay_what_they_are() -> None:
    assert np.isnan(log10([math.nan, 1.0])).tolist() == [True, False]
    assert float(log10(math.inf)) == math.inf


def test_extremes_of_several_steps() -> None:
    norms = np.array([[1e-4, 10.0, 1.0], [0.0, math.nan, 1.0]])
    smallest, largest = log10_extremes(norms)
    assert (smallest[0], largest[0]) == (pytest.approx(-4.0), pytest.approx(1.0))
    assert np.isnan([smallest[1], largest[1]]).all()
