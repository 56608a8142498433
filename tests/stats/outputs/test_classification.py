"""Statistics of predictions against scipy and numpy in float64, by definition."""

from functools import reduce
from operator import add

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, log_softmax, softmax
from scipy.stats import entropy

from trainkit.stats.outputs.classification import KINDS, ClassTotals, classification
from trainkit.stats.outputs.probability import ProbabilityCounts

seeds = settings(deadline=None, derandomize=True, max_examples=40)

pytestmark = pytest.mark.usefixtures("each_backend")


def by_definition(p: np.ndarray) -> dict[str, float]:
    """Of probabilities [N, C]."""
    ranked = np.sort(p, axis=1)
    h = entropy(p, axis=1)
    return {
        "entropy": h.mean(),
        "entropy_normalized": h.mean() / np.log(p.shape[1]),
        "confidence": ranked[:, -1].mean(),
        "margin": (ranked[:, -1] - ranked[:, -2]).mean(),
    }


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, float]) -> None:
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert value.ndim == 0
        assert value.item() == pytest.approx(expected[name], rel=1e-6, abs=1e-6), name


def logits(seed: int, *shape: int, scale: float = 3.0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale


@seeds
@given(
    st.integers(0, 1000),
    st.integers(1, 40),
    st.integers(2, 50),
    st.sampled_from([0.01, 3, 100, 1e4]),
)
def test_all_three_forms_of_classes_equal_scipy(seed: int, n: int, c: int, scale: float) -> None:
    x = logits(seed, n, c, scale=scale)
    expected = by_definition(softmax(x.double().numpy(), axis=1))
    assert_equal(classification(x), expected)
    log_p = torch.from_numpy(log_softmax(x.double().numpy(), axis=1))
    assert_equal(classification(log_p, kind="log_probabilities"), expected)
    assert_equal(classification(log_p.exp(), kind="probabilities"), expected)


@pytest.mark.parametrize("shape", [(100, 97), (8, 90, 12), (4, 40, 5, 7)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_more_classes_than_are_worth_an_exponential_each(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    x = logits(0, *shape).to(dtype)
    x[0, :3] = -torch.inf  # masked classes
    y = torch.randint(0, shape[1], shape[:1] + shape[2:])
    y[-1] = -1
    rows = x.movedim(1, -1)[y != -1]
    expected = by_definition(softmax(rows.double().numpy(), axis=-1))
    assert_equal(classification(x, y, ignore_index=-1), expected)
    totals = ClassTotals.of(x, y, ignore_index=-1, shares=shape[1])
    chosen = np.bincount(rows.argmax(-1).flatten(), minlength=shape[1])
    np.testing.assert_allclose(totals.shares().numpy(), chosen / chosen.sum())
    x[1, 5] = torch.nan
    assert classification(x, y, ignore_index=-1)["entropy"].isnan()
    assert classification(x, y, ignore_index=-1)["margin"].isnan()
    x[1, 5] = torch.inf  # a softmax of it is none
    assert classification(x, y, ignore_index=-1)["confidence"].isnan()


@seeds
@given(st.integers(0, 1000), st.sampled_from([(7,), (7, 1), (7, 4), (3, 1, 5, 6), (2, 3, 4, 5)]),
       st.sampled_from([1.0, 1e4]))  # fmt: skip
def test_every_element_is_a_decision_where_it_is_binary(
    seed: int, shape: tuple[int, ...], scale: float
) -> None:
    x = logits(seed, *shape, scale=scale)
    z = x.double().numpy().ravel()
    expected = by_definition(np.stack([expit(-z), expit(z)], 1))
    assert_equal(classification(x, kind="binary_logits"), expected)
    assert_equal(classification(torch.sigmoid(x.double()), kind="binary_probabilities"), expected)


@pytest.mark.parametrize("shape", [(6,), (6, 1), ()])
def test_one_logit_is_binary_even_if_it_is_called_logits(shape: tuple[int, ...]) -> None:
    x = logits(0, *shape)
    for name, value in classification(x).items():
        torch.testing.assert_close(value, classification(x, kind="binary_logits")[name])


@seeds
@given(st.integers(0, 1000), st.sampled_from([(4, 5, 7), (2, 3, 4, 5), (2, 3, 2, 3, 2)]))
def test_dimensions_behind_the_classes_and_an_ignored_index(
    seed: int, shape: tuple[int, ...]
) -> None:
    x = logits(seed, *shape)
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(0, shape[1], shape[:1] + shape[2:], generator=generator)
    y[0, 0] = -100
    rows = x.movedim(1, -1)[y != -100]
    expected = by_definition(softmax(rows.double().numpy(), axis=-1))
    assert_equal(classification(x, y, ignore_index=-100), expected)
    last = x.movedim(1, -1).contiguous()  # as language models have them
    assert_equal(classification(last, y, ignore_index=-100), expected)


def test_nan_in_an_ignored_place_is_ignored_and_elsewhere_shown() -> None:
    x, y = logits(0, 4, 3), torch.tensor([0, 1, -1, 2])
    x[2] = torch.nan
    hidden = classification(x, y, ignore_index=-1)
    assert all(value.isfinite() for value in hidden.values())
    totals = ClassTotals.of(x, y)
    assert all(value.isnan() for value in totals.statistics().values())
    assert totals.shares().isnan().any()


def test_no_nan_from_zero_times_log_zero() -> None:
    p = torch.tensor([[1.0, 0.0, 0.0]])
    assert classification(p, kind="probabilities")["entropy"] == 0
    assert classification(p.log(), kind="log_probabilities")["entropy"] == 0
    masked = torch.tensor([[0.0, 0.0, -torch.inf]])
    assert classification(masked)["entropy"].item() == pytest.approx(np.log(2))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_widened_first(dtype: torch.dtype) -> None:
    x = logits(0, 16, 5).to(dtype)
    assert_equal(classification(x), by_definition(softmax(x.double().numpy(), axis=1)))


def test_shares_of_classes_and_of_labels() -> None:
    x = torch.eye(4)[torch.tensor([0, 0, 1, 3])]
    shares = ClassTotals.of(x, torch.tensor([0, 0, 0, 9]), ignore_index=9).shares()
    assert shares.tolist() == pytest.approx([2 / 3, 1 / 3, 0, 0])
    labels = torch.tensor([[5.0, -5.0], [5.0, 5.0], [-5.0, -5.0], [5.0, -5.0]])
    assert ClassTotals.of(labels, kind="binary_logits").shares().tolist() == [0.75, 0.25]
    assert ClassTotals.of(labels[:, :1], kind="binary_logits").shares().tolist() == [0.25, 0.75]
    assert ClassTotals.of(logits(0, 3, 33)).shares().numel() == 0


@seeds
@given(st.integers(0, 1000), st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_totals_of_unequal_batches_add_up(seed: int, sizes: list[int]) -> None:
    x = logits(seed, sum(sizes), 4)
    added = reduce(add, [ClassTotals.of(part) for part in x.split(sizes)])
    whole = ClassTotals.of(x)
    for name, value in whole.statistics().items():
        torch.testing.assert_close(added.statistics()[name], value, equal_nan=True)
    torch.testing.assert_close(added.shares(), whole.shares(), equal_nan=True)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"kind must be one of logits.*got 'scores'"):
        classification(torch.zeros(2, 3), kind="scores")
    with pytest.raises(ValueError, match="kind"):
        classification(torch.zeros(2, 3), kind="values")
    with pytest.raises(ValueError, match="two or more classes"):
        classification(torch.zeros(2), kind="log_probabilities")
    with pytest.raises(ValueError, match="one class index per prediction"):
        classification(torch.zeros(2, 3), torch.zeros(5, dtype=torch.long), ignore_index=0)


@seeds
@given(st.integers(0, 1000), st.integers(1, 30), st.integers(2, 6))
def test_probability_counts_equal_numpy(seed: int, n: int, c: int) -> None:
    x = logits(seed, n, c)
    p = x.softmax(1)[:, 1:] if c == 2 else x.softmax(1)
    added = ProbabilityCounts.of(x[: n // 2]) + ProbabilityCounts.of(x[n // 2 :])
    counts, edges = np.histogram(p.numpy(), bins=50, range=(0, 1))
    assert added.counts.sum() == p.numel()
    assert (added.counts.numpy() - counts).__abs__().max() <= 1  # on an edge, by rounding
    np.testing.assert_allclose(added.edges().numpy(), edges)
    d = p.double()
    expected = [d.min(), d.max(), d.sum(), (d * d).sum()]
    np.testing.assert_allclose(added.moments.numpy(), expected, rtol=1e-6)


def test_probability_counts_keep_what_is_not_finite_apart() -> None:
    p = torch.tensor([[0.5, 0.2, 0.3], [torch.nan, torch.inf, 1.0], [0.0, 0.0, 1.0]])
    y = torch.tensor([0, 1, -1])
    found = ProbabilityCounts.of(p, y, kind="probabilities", ignore_index=-1)
    assert (found.counts.sum().item(), found.non_finite.item()) == (4, 2)
    assert found.moments.tolist() == pytest.approx([0.2, 1.0, 2.0, 1.38])
    nothing = ProbabilityCounts.of(p[1:2] * torch.nan, kind="probabilities")
    assert nothing.moments.tolist() == [0, 0, 0, 0]
    assert (found + nothing).moments.tolist() == pytest.approx([0.2, 1.0, 2.0, 1.38])


def test_kinds_are_those_of_the_docstrings() -> None:
    assert KINDS[-1] == "values"
    for kind in KINDS[:-1]:
        assert set(classification(torch.full((2, 3), 0.5), kind=kind)) == {
            "entropy", "entropy_normalized", "confidence", "margin",
        }  # fmt: skip
