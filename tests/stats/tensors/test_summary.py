"""Summaries, norms and histograms against NumPy in float64, over inputs of every kind."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from torch import Tensor

from trainkit.stats import (
    COLUMNS,
    Snapshot,
    global_norm,
    histograms,
    norms,
    summarize,
    summary_table,
)
from trainkit.stats.cpu.loops import loops
from trainkit.stats.cpu.sizes import sizes_of
from trainkit.stats.tensors.histograms import histograms_on_device
from trainkit.stats.tensors.moments import moments
from trainkit.stats.tensors.rows import Rows, pooled_by_index
from trainkit.stats.tensors.summary import summary_on_device

pytestmark = pytest.mark.usefixtures("each_backend")

SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=7)
# Scaled by up to 1e±30 as a whole: what a gradient can come to.
PLAIN = st.floats(-1e3, 1e3, width=32)
ANY = st.floats(width=32, allow_nan=True, allow_infinity=True, allow_subnormal=True)


def reference(x: NDArray[Any]) -> dict[str, float]:
    """The statistics by definition, simple and slow."""
    x = np.abs(x) if np.iscomplexobj(x) else x
    x = x.astype(np.longdouble)
    if x.size == 0:
        nan = math.nan
        return dict(zip(COLUMNS, (0.0, nan, nan, 0.0, nan, 0.0), strict=True))
    with np.errstate(all="ignore"):
        return {
            "norm": float(np.sqrt(np.sum(x**2))),
            "mean": float(np.mean(x)),
            "std": float(np.std(x)),
            "max_abs": float(np.max(np.abs(x))),
            "zero_fraction": float(np.mean(x == 0)),
            "non_finite": float(np.sum(~np.isfinite(x))),
        }


def assert_is(found: Tensor, expected: float, slack: float, what: str) -> None:
    value = float(found)
    if math.isnan(expected) or math.isinf(expected):
        same = math.isnan(value) if math.isnan(expected) else value == expected
        assert same, (what, value, expected)
    else:
        assert value == pytest.approx(expected, rel=2e-5, abs=slack), what


def check(tensors: list[Tensor], plain: list[NDArray[Any]]) -> None:
    found = summarize(tensors)
    assert list(found) == list(COLUMNS)
    for i, x in enumerate(plain):
        for column, value in reference(x).items():
            # Rounding of the mean is relative to the largest element, and so is all after it.
            size = float(np.max(np.abs(x), initial=0.0)) if np.isfinite(x).all() else 0.0
            # A result below 1e-38 is rounded to a multiple of the smallest float of its dtype.
            least = np.finfo(found[column].numpy().dtype).smallest_subnormal
            exact = column in ("zero_fraction", "non_finite")
            slack = 0.0 if exact else max(1e-6 * size, float(least))
            assert_is(found[column][i], value, slack, f"{column} of {x!r}")


@settings(deadline=None, derandomize=True, max_examples=150)
@given(
    st.lists(arrays.arrays(np.float32, SHAPES, elements=PLAIN), min_size=1, max_size=4),
    st.integers(-30, 30),
)
# Denormals, and a norm between two of them. Hypothesis takes some of its numbers from the modules
# that are loaded, so that it finds this only in some orders of the tests.
@example([np.array([3.28e-43, 3.28e-43], np.float32)], 0)
def test_finite_values_of_every_size(plain: list[NDArray[Any]], exponent: int) -> None:
    scaled = [(x.astype(np.float64) * 10.0**exponent).astype(np.float32) for x in plain]
    check([torch.from_numpy(np.array(x)) for x in scaled], scaled)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(arrays.arrays(np.float32, SHAPES, elements=ANY))
def test_any_float_shows_nan_and_infinity(x: NDArray[Any]) -> None:
    found = {name: float(values[0]) for name, values in summarize([torch.from_numpy(x)]).items()}
    bad = ~np.isfinite(x)
    assert found["non_finite"] == bad.sum()
    if np.isnan(x).any():
        assert all(math.isnan(found[name]) for name in ("norm", "mean", "std", "max_abs"))
    elif bad.any():
        assert found["norm"] == found["max_abs"] == math.inf
        assert not math.isfinite(found["mean"])
        assert math.isnan(found["std"])
    if x.size:
        assert found["zero_fraction"] == pytest.approx(np.mean(x == 0), abs=1e-6)


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.bool]
)
def test_dtypes(dtype: torch.dtype) -> None:
    x = (torch.randn(50, generator=torch.Generator().manual_seed(0)) * 3).to(dtype)
    check([x], [x.to(torch.float64).numpy()])
    check([x, torch.ones(3)], [x.to(torch.float64).numpy(), np.ones(3)])


def test_complex_counts_by_magnitude() -> None:
    z = torch.randn(20, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    check([z], [z.numpy()])


def test_a_view_that_is_still_to_be_negated() -> None:
    z = torch.randn(20, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    x = z.conj().imag
    assert x.is_neg()
    check([x], [-z.imag.numpy()])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [5000, 65_536, 200_001])
@pytest.mark.parametrize("kind", ["plain", "ones", "huge", "tiny", "nan", "inf", "zeros"])
def test_large_tensors_of_one_block_and_of_several(
    dtype: torch.dtype, size: int, kind: str
) -> None:
    x = torch.randn(size, dtype=dtype, generator=torch.Generator().manual_seed(size))
    x[::7] = 0
    wide = dtype is torch.float64
    if kind == "ones":
        x = 1 + 1e-3 * x
    elif kind == "zeros":
        x = x * 0
    elif kind == "huge":
        x *= 1e200 if wide else 1e30
    elif kind == "tiny":
        x *= 1e-200 if wide else 1e-30
    elif kind in ("nan", "inf"):
        x[-1] = float(kind)
    check([x, x[:100]], [x.numpy(), x[:100].numpy()])
    found = norms([x, x[:100]])
    for norm, part in zip(found.tolist(), (x, x[:100]), strict=True):
        assert_is(
            torch.tensor(norm, dtype=torch.float64), reference(part.numpy())["norm"], 0.0, "norm"
        )
    counts = histograms([x]).counts[0]
    finite = x[x.isfinite()].double()
    expected, _ = np.histogram(finite / (finite.abs().max() or 1), 64)
    if kind != "zeros":
        assert np.abs(counts.numpy() - expected).sum() <= (2 if wide else 40)
    assert counts.sum() == finite.numel()


def test_a_transposed_tensor_and_a_slice() -> None:
    x = torch.randn(100, 80, generator=torch.Generator().manual_seed(0))
    check([x.T, x[:, ::3]], [x.numpy(), x[:, ::3].numpy()])


def test_histograms_of_elements_that_hardly_differ() -> None:
    x = torch.tensor([1.0, 1.0 + 2.0**-52], dtype=torch.float64)
    found = histograms([x, x.repeat(3000)])
    assert (found.edges.diff(dim=1) > 0).all()
    assert found.counts.sum(1).tolist() == [2, 6000]


@pytest.mark.parametrize("buckets", [1, 255, 256, 1000])
def test_any_number_of_buckets(buckets: int) -> None:
    x = torch.rand(70_001, generator=torch.Generator().manual_seed(0))
    found = histograms([x, x[:50]], buckets)
    for row, values in zip(found.counts.numpy(), (x, x[:50]), strict=True):
        expected, _ = np.histogram(values.double().numpy(), buckets)
        assert np.abs(row - expected).sum() <= max(4, 0.001 * values.numel())
    with pytest.raises(ValueError, match="buckets must be from 1 to 65,000, got 0"):
        histograms([x], 0)


def test_sparse_is_what_it_is_dense() -> None:
    i = torch.tensor([[0, 2, 2], [1, 0, 0]])
    sparse = torch.sparse_coo_tensor(
        i, torch.tensor([3.0, 4.0, -5.0]), (5, 3), check_invariants=True
    )
    nothing = torch.zeros(4, 2).to_sparse()
    dense = [sparse.to_dense().numpy(), np.zeros((4, 2), np.float32), np.ones(3, np.float32)]
    check([sparse, nothing, torch.ones(3)], dense)
    assert norms([sparse]).item() == pytest.approx(math.sqrt(10))


def test_a_mean_much_larger_than_the_spread() -> None:
    x = 1 + 1e-4 * torch.randn(10_000, generator=torch.Generator().manual_seed(0))
    assert summarize([x])["std"].item() == pytest.approx(
        x.double().std(correction=0).item(), rel=1e-3
    )


def test_no_tensor_and_many_chunks() -> None:
    assert all(values.shape == (0,) for values in summarize([]).values())
    many = [torch.full((3 * 2**20,), float(i)) for i in range(1, 5)]  # 12 MiB each
    assert summarize(many)["mean"].tolist() == [1.0, 2.0, 3.0, 4.0]


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    st.lists(arrays.arrays(np.float32, SHAPES, elements=PLAIN), min_size=1, max_size=5),
    st.integers(-30, 30),
)
def test_norms_and_their_global_norm(plain: list[NDArray[Any]], exponent: int) -> None:
    scaled = [(x.astype(np.float64) * 10.0**exponent).astype(np.float32) for x in plain]
    found = norms([torch.from_numpy(np.array(x)) for x in scaled])
    expected = [np.linalg.norm(x.astype(np.float64)) for x in scaled]
    assert found.tolist() == pytest.approx(expected, rel=1e-5, abs=1e-44)
    if abs(exponent) < 15:
        total = np.linalg.norm(expected)
        assert float(global_norm(found)) == pytest.approx(total, rel=1e-5, abs=1e-30)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(st.lists(arrays.arrays(np.float32, SHAPES, elements=ANY), min_size=1, max_size=3))
def test_histograms_count_every_finite_element_once(plain: list[NDArray[Any]]) -> None:
    found = histograms([torch.from_numpy(x) for x in plain])
    for i, x in enumerate(plain):
        finite = x[np.isfinite(x)].astype(np.float64)
        counts, edges = found.counts[i].numpy(), found.edges[i].numpy()
        assert counts.sum() == finite.size
        assert found.non_finite[i] == x.size - finite.size
        assert (np.diff(edges) > 0).all()
        moments = [finite.min(), finite.max()] if finite.size else [0.0, 0.0]
        assert found.moments[i, :2].tolist() == pytest.approx(moments, rel=1e-6)
        scale = np.abs(finite).max(initial=0.0)
        slack = 1e-5 * scale * max(finite.size, 1)
        assert found.moments[i, 2].item() == pytest.approx(finite.sum(), rel=1e-5, abs=slack)
        assert found.moments[i, 3].item() == pytest.approx((finite**2).sum(), rel=1e-5)


def test_histograms_are_numpys() -> None:
    x = torch.randn(5000, generator=torch.Generator().manual_seed(0))
    counts, edges = np.histogram(x.numpy().astype(np.float64), 64)
    found = histograms([x])
    assert np.abs(found.counts[0].numpy() - counts).sum() <= 4  # elements on an edge, in float32
    assert found.edges[0].numpy() == pytest.approx(edges, rel=1e-5)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(st.lists(arrays.arrays(np.float32, SHAPES, elements=ANY), min_size=1, max_size=4))
def test_the_version_for_other_devices_agrees(plain: list[NDArray[Any]]) -> None:
    tensors = [torch.from_numpy(x).reshape(-1) for x in plain if x.size]
    if not tensors:
        return
    for mine, other in zip(summary_table(tensors), summary_on_device(tensors), strict=True):
        largest = torch.stack([t.nan_to_num(0, 0, 0).abs().amax() for t in tensors])
        close = (mine - other).abs() <= 2e-5 * other.abs() + 1e-6 * largest
        # With an infinity the mean is infinite or NaN: sums may be taken in any order.
        alike = (mine == other) | ~(mine.isfinite() | other.isfinite())
        assert (close | alike).all(), (mine, other)
    counts, table = loops().histogram_rows(tensors, sizes_of(tensors), 8)
    counts_too, table_too = histograms_on_device(tensors, 8)
    assert counts.sum(1).tolist() == counts_too.sum(1).tolist()
    extremes, largest = table[:, :2] - table_too[:, :2], table[:, :2].abs().amax(1, keepdim=True)
    assert (extremes.abs() <= 1e-7 * largest).all()
    assert torch.equal(table[:, 5], table_too[:, 5])


@pytest.mark.parametrize("start", [0.0, 1.0])
def test_a_norm_of_many_elements_keeps_its_digits(start: float) -> None:
    """float32 sums of squares over all of them would be off by 1e-3."""
    x = start + torch.rand(20_000_000, generator=torch.Generator().manual_seed(0))
    expected = np.linalg.norm(x.double().numpy())
    assert norms([x]).item() == pytest.approx(expected, rel=1e-6)
    assert summarize([x])["norm"].item() == pytest.approx(expected, rel=1e-6)
    before = Snapshot([x, x[:5]])
    x += 1
    moved, kept = before.distances().tolist()
    assert moved == pytest.approx([math.sqrt(20e6), math.sqrt(5)], rel=1e-6)
    assert kept[0] == pytest.approx(expected, rel=1e-6)


def test_nothing_is_written_to_what_is_measured() -> None:
    for size in (3, 256, 2**16, 2**20):
        x = torch.nn.Parameter(1 + torch.rand(size))
        before = x.detach().clone()
        for tensors in ([x], [x, x]):
            summarize(tensors)
            summary_on_device([tensor.detach() for tensor in tensors])
            norms(tensors)
            histograms(tensors)
            moments(x)
            Snapshot(tensors).distances()
        assert torch.equal(x, before)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.lists(st.integers(1, 1000), min_size=1, max_size=5))
def test_rows_are_added_up_by_tensor(sizes: list[int]) -> None:
    tensors = [torch.rand(size, dtype=torch.float64) for size in sizes]
    rows = Rows(tensors)
    assert rows.sizes.tolist() == sizes
    sums, maxima = rows.added(rows.matrix.sum(1)), rows.largest(rows.matrix.amax(1))
    assert sums.tolist() == pytest.approx([t.sum().item() for t in tensors])
    assert maxima.tolist() == [t.max().item() for t in tensors]
    # For devices without `torch.segment_reduce`.
    for found, values, how in (
        (sums, rows.matrix.sum(1), "sum"),
        (maxima, rows.matrix.amax(1), "max"),
    ):
        other = pooled_by_index(values, rows.owner, len(sizes), how)
        assert other.tolist() == pytest.approx(found.tolist())
    positions, real = rows.last()
    for i, tensor in enumerate(tensors):
        assert rows.matrix[positions[i]][real[i]][-1] == tensor[-1]
    assert real.sum(1).tolist() == [(size - 1) % 256 + 1 for size in sizes]


@pytest.mark.parametrize("mean", [0.0, 10.0, 1e6, -1e30])
@pytest.mark.parametrize("shape", [(7,), (5000,), (3, 50, 40), (300, 1001)])
def test_moments(mean: float, shape: tuple[int, ...]) -> None:
    x = mean + torch.randn(shape, generator=torch.Generator().manual_seed(0))
    for y in (x, x.movedim(0, -1), x[..., ::2]):
        values = y.double().numpy()
        found = [float(value) for value in moments(y)]
        assert found[0] == pytest.approx(values.mean(), rel=1e-5, abs=1e-6)
        assert found[1] == pytest.approx(values.var(), rel=1e-4)
    x.view(-1)[-1] = torch.nan
    assert all(value.isnan() for value in moments(x))
