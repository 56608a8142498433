"""An evenly spaced sample, however the rows come."""

import pytest
import torch

from trainkit.stats.outputs.even_sample import EvenSample


@pytest.mark.parametrize("batch", [1, 7, 64, 1000, 5000])
def test_the_same_rows_whatever_the_batches(batch: int) -> None:
    rows = torch.arange(5000)
    parts = [EvenSample.of(part, most=300) for part in rows.split(batch)]
    found = parts[0]
    for part in parts[1:]:
        found = found + part
        assert len(found.rows) <= 300
    assert found.count == 5000
    every = 5000 // len(found.rows) + 1
    assert found.every == 32 == 2 ** (every - 1).bit_length()
    if batch in (1, 7, 64, 5000):
        assert found.rows.tolist() == list(range(0, 5000, 32))
    distances = found.rows.diff()
    assert distances.min() >= 16
    assert distances.max() <= 64


def test_few_rows_are_all_kept_in_a_copy() -> None:
    rows = torch.arange(10.0)
    found = EvenSample.of(rows, most=20) + EvenSample.of(rows, most=20)
    assert found.rows.tolist() == [*range(10), *range(10)]
    sample = EvenSample.of(rows, most=20)
    rows.zero_()
    assert sample.rows[9] == 9
