"""How far tensors have moved, with every kind of loops, against the definition."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from torch import Tensor

from trainkit.stats import Snapshot

pytestmark = pytest.mark.usefixtures("each_backend")

PLAIN = st.floats(-1e3, 1e3, width=32)


def moved(before: list[Tensor], after: list[Tensor]) -> Tensor:
    tensors = [tensor.clone() for tensor in before]
    snapshot = Snapshot(tensors)
    for tensor, later in zip(tensors, after, strict=True):
        tensor.copy_(later)
    return snapshot.distances()


@settings(deadline=None, derandomize=True, max_examples=100)
@given(
    st.lists(arrays.arrays(np.float64, (2, 5), elements=PLAIN), min_size=1, max_size=4),
    st.integers(-200, 200),
    st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.complex64]),
)
def test_distances_by_definition(
    pairs: list[NDArray[Any]], exponent: int, dtype: torch.dtype
) -> None:
    if dtype is not torch.float64:
        exponent //= 10
    both = [torch.from_numpy(x * 10.0**exponent).to(dtype) for x in pairs]
    before, after = [x[0] for x in both], [x[1] for x in both]
    found = moved(before, after)
    for i, (b, a) in enumerate(zip(before, after, strict=True)):
        wide = torch.complex128 if dtype.is_complex else torch.float64
        b, a = b.to(wide).numpy(), a.to(wide).numpy()
        largest = max(np.abs(a).max(), np.abs(b).max())
        for norm, x in zip(found[:, i].tolist(), (a - b, b), strict=True):
            expected = float(np.sqrt(np.sum(np.abs(x).astype(np.longdouble) ** 2)))
            assert norm == pytest.approx(expected, rel=2e-5, abs=1e-6 * largest)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_distance_shows_what_is_not_finite(bad: float) -> None:
    one, other = torch.ones(3), torch.tensor([1.0, bad, 2.0])
    found = moved([one, other, torch.empty(0)], [other, one, torch.empty(0)])
    assert not found[0, :2].isfinite().any()
    assert found[1].isfinite().tolist() == [True, False, True]
    assert found[:, 2].tolist() == [0, 0]


def test_no_elements_and_no_tensors() -> None:
    assert moved([torch.ones(2), torch.empty(0)], [torch.zeros(2), torch.empty(0)]).tolist() == [
        pytest.approx([math.sqrt(2), 0]),
        pytest.approx([math.sqrt(2), 0]),
    ]
    assert Snapshot([]).distances().shape == (2, 0)


def test_transposed_weights_in_whatever_memory_they_are_later() -> None:
    values = torch.arange(6.0).reshape(2, 3).T
    weight = torch.nn.Parameter(values.clone())
    before = Snapshot([weight])
    weight.data = (values + 1).contiguous()
    assert before.distances().tolist() == [
        pytest.approx([math.sqrt(6)]),
        pytest.approx([math.sqrt(55)]),
    ]
    weight.data = values.double() + 2
    assert before.distances()[0].tolist() == pytest.approx([math.sqrt(24)])
    weight.data = torch.ones(5)
    with pytest.raises(ValueError, match="another number of elements"):
        before.distances()


def test_a_snapshot_is_a_copy_and_leaves_the_tensors_alone() -> None:
    weight = torch.nn.Parameter(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)))
    bits, memory = weight.detach().clone(), weight.data_ptr()
    before = Snapshot([weight, weight])
    assert before.distances()[0].tolist() == [0, 0]
    assert torch.equal(weight, bits)
    assert weight.data_ptr() == memory
