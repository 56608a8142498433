"""Counting what is no number."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainkit.stats import non_finite

floats = st.floats(width=32, allow_nan=True, allow_infinity=True)


@settings(deadline=None, derandomize=True)
@given(st.lists(st.lists(floats, max_size=6), min_size=1, max_size=4))
def test_against_numpy(rows: list[list[float]]) -> None:
    expected = [int((~np.isfinite(np.array(row, np.float32))).sum()) for row in rows]
    assert non_finite([torch.tensor(row) for row in rows]).tolist() == expected


def test_kinds_of_tensors() -> None:
    nan, inf = torch.nan, torch.inf
    tensors = [
        torch.tensor([1.0, inf], dtype=torch.float16),
        torch.tensor([nan, 1.0], dtype=torch.float64),
        torch.tensor([complex(nan, 0), complex(1, inf), 1j]),
        torch.tensor([[0.0, nan], [0.0, 0.0]]).to_sparse(),
        torch.tensor(3),
        torch.empty(0),
    ]
    assert non_finite(tensors).tolist() == [1, 1, 2, 1, 0, 0]
    assert non_finite([]).shape == (0,)
