"""Statistics of raw values against numpy in float64."""

from functools import reduce
from operator import add

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainkit.stats.outputs.regression import ValueTotals, regression

seeds = settings(deadline=None, derandomize=True, max_examples=40)


def values(seed: int, *shape: int, centre: float = 0.0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 2 + centre


def by_definition(y_pred: torch.Tensor, y: torch.Tensor) -> dict[str, float]:
    p, t = y_pred.double().numpy().ravel(), y.double().numpy().ravel()
    return {
        "predictions/mean": p.mean(),
        "predictions/std": p.std(),
        "predictions/min": p.min(),
        "predictions/max": p.max(),
        "targets/mean": t.mean(),
        "targets/std": t.std(),
        "residuals/mean": (t - p).mean(),
        "residuals/std": (t - p).std(),
    }


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, float]) -> None:
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert value.ndim == 0
        assert value.item() == pytest.approx(expected[name], rel=1e-9, abs=1e-9), name


@seeds
@given(
    st.integers(0, 1000),
    st.sampled_from([((5,), (5,)), ((5, 1), (5,)), ((5, 3), (5, 3)), ((2, 3, 4), (2, 3, 4))]),
    st.sampled_from([0.0, 1e6]),
)
def test_equals_numpy(
    seed: int, shapes: tuple[tuple[int, ...], tuple[int, ...]], centre: float
) -> None:
    y_pred, y = values(seed, *shapes[0], centre=centre), values(seed + 1, *shapes[1])
    assert_equal(regression(y_pred, y), by_definition(y_pred, y))
    assert_equal(ValueTotals.of(y_pred, y).statistics(), by_definition(y_pred, y))


@seeds
@given(
    st.integers(0, 1000),
    st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any),
    st.sampled_from([1, 3]),
    st.sampled_from([0.0, 1e7]),
)
def test_totals_of_unequal_batches_add_up(
    seed: int, sizes: list[int], outputs: int, centre: float
) -> None:
    y_pred, y = values(seed, sum(sizes), outputs, centre=centre), values(seed, sum(sizes), outputs)
    parts = zip(y_pred.split(sizes), y.split(sizes), strict=True)
    added = reduce(add, [ValueTotals.of(*part) for part in parts])
    assert_equal(added.statistics(), by_definition(y_pred, y))
    for name, value in ValueTotals.of(y_pred, y).per_output().items():
        torch.testing.assert_close(added.per_output()[name], value)


def test_several_outputs_have_their_own_statistics() -> None:
    y_pred, y = torch.tensor([[1.0, 10.0], [3.0, 10.0]]), torch.zeros(2, 2)
    found = ValueTotals.of(y_pred, y).per_output()
    assert found["predictions.mean"].tolist() == [2, 10]
    assert found["predictions.std"].tolist() == [1, 0]
    assert found["residuals.mean"].tolist() == [-2, -10]
    assert ValueTotals.of(y_pred[:, :1], y[:, :1]).per_output() == {}
    assert ValueTotals.of(y_pred, y, outputs=1).per_output() == {}


def test_targets_of_another_size_are_left_out() -> None:
    assert set(regression(torch.zeros(4), torch.zeros(3))) == {
        "predictions/mean", "predictions/std", "predictions/min", "predictions/max",
    }  # fmt: skip


def test_nan_and_infinity_are_shown() -> None:
    found = regression(torch.tensor([1.0, torch.nan]), torch.tensor([1.0, 1.0]))
    assert all(found[f"predictions/{s}"].isnan() for s in ("mean", "std", "min", "max"))
    assert found["residuals/mean"].isnan()
    assert found["targets/mean"] == 1
    assert regression(torch.tensor([1.0, torch.inf]))["predictions/max"] == torch.inf


def test_nothing_at_all_is_nan() -> None:
    assert all(value.isnan() or value == 0 for value in regression(torch.zeros(0)).values())
    assert regression(torch.zeros(0))["predictions/std"].isnan()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int64])
def test_any_real_dtype(dtype: torch.dtype) -> None:
    y_pred, y = values(0, 8).to(dtype), values(1, 8).to(dtype)
    assert_equal(regression(y_pred, y), by_definition(y_pred, y))
