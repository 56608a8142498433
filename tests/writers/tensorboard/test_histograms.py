import itertools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.util.tensor_util import make_ndarray

from tests.writers.reading import accumulated, event_files, migrated_events, raw_scalars
from trainkit.writers import EventFileWriter, Histogram, Histograms

EDGES = torch.tensor([-4.0, -1.0, 0.0, 1.0, 2.0, 8.0], dtype=torch.float64)


def read_back(histograms: Any) -> tuple[dict[str, Any], dict[str, float]]:
    with tempfile.TemporaryDirectory() as directory:
        writer = EventFileWriter(directory)
        writer.write_histograms(1, histograms)
        writer.close()
        accumulator = accumulated(Path(directory))
        tags = accumulator.Tags()["histograms"]
        found = {tag: accumulator.Histograms(tag)[0].histogram_value for tag in tags}
        scalars = {tag: points[0][1] for tag, points in raw_scalars(Path(directory)).items()}
        # What the web page gets: the reader's own migration counts the same.
        for event in migrated_events(event_files(Path(directory))[0]):
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "histograms":
                    rows = make_ndarray(value.tensor)
                    assert rows.sum(axis=0)[2] == found[value.tag].num if rows.size else True
    return found, scalars


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40))
def test_raw_values_are_all_there_with_their_moments(values: list[float]) -> None:
    found, scalars = read_back({"h": torch.tensor(values, dtype=torch.float32)})
    data = np.array(values, np.float32).astype(np.float64)
    proto = found["h"]
    assert (proto.num, sum(proto.bucket)) == (len(data), len(data))
    assert (proto.min, proto.max) == pytest.approx((data.min(), data.max()), rel=1e-6)
    slack = 1e-5 * np.abs(data).max() * len(data)
    assert proto.sum == pytest.approx(data.sum(), rel=1e-5, abs=slack)
    assert proto.sum_squares == pytest.approx((data**2).sum(), rel=1e-5)
    assert scalars == {}


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.lists(st.integers(0, 5), min_size=5, max_size=5))
def test_buckets_in_the_file_hold_what_was_counted(counts: list[int]) -> None:
    data = [x for x, n in zip([-2.0, -0.5, 0.25, 1.5, 3.0], counts, strict=True) for _ in range(n)]
    low, high = (min(data), max(data)) if data else (0.0, 0.0)
    moments = torch.tensor([low, high, sum(data), sum(x * x for x in data)], dtype=torch.float64)
    one = Histogram(torch.tensor(counts), EDGES, moments, torch.tensor(0))
    bulk = Histograms(
        ("bulk",), one.counts[None], EDGES, moments[None], torch.zeros(1, dtype=torch.int64)
    )
    for found, scalars in (read_back({"one": one}), read_back(bulk)):
        (proto,) = found.values()
        assert scalars == {}
        assert (proto.num, proto.min, proto.max) == (len(data), low, high)
        assert proto.sum == moments[2]
        assert proto.sum_squares == moments[3]
        limits = list(proto.bucket_limit)
        assert limits == sorted(set(limits))
        # A filled bucket keeps its right edge; its left edge is the one before it, or the minimum.
        filled = {edge: n for edge, n in zip(EDGES[1:].tolist(), counts, strict=True) if n}
        assert {e: n for e, n in zip(limits, proto.bucket, strict=True) if n} == filled
        for edge in filled:
            at, left = limits.index(edge), EDGES.tolist()[EDGES.tolist().index(edge) - 1]
            assert at == 0 or limits[at - 1] == left
        # No empty bucket at either end, and no two in a row.
        filling = [n > 0 for n in proto.bucket]
        assert not filling or (filling[0] and filling[-1])
        assert all(a or b for a, b in itertools.pairwise(filling))


@pytest.mark.parametrize("data", [[], [float("nan")] * 3, [float("inf"), -float("inf")]])
def test_a_histogram_of_nothing_finite_does_not_raise(data: list[float]) -> None:
    found, scalars = read_back({"h": torch.tensor(data)})
    assert (found["h"].num, list(found["h"].bucket)) == (0, [])
    assert scalars == ({"h/non_finite": float(len(data))} if data else {})


def test_the_non_finite_count_is_kept_where_there_is_one() -> None:
    found, scalars = read_back({"h": torch.tensor([1.0, float("nan")]), "fine": torch.ones(2)})
    assert scalars == {"h/non_finite": 1.0}
    assert {tag: proto.num for tag, proto in found.items()} == {"h": 1, "fine": 2}


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.bool, torch.uint8]
)
def test_raw_values_of_any_real_dtype_and_shape(dtype: torch.dtype) -> None:
    data = torch.tensor([[0, 1], [1, 1]]).to(dtype)
    found, _ = read_back({"h": data, "one": data[0, 1]})
    assert (found["h"].num, found["h"].min, found["h"].max, found["h"].sum) == (4, 0, 1, 3)
    assert (found["one"].num, found["one"].sum) == (1, 1)


def test_writing_raw_values_needs_no_gradient_and_leaves_none() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    found, _ = read_back({"h": weight * 2})
    assert found["h"].sum == 6
    assert weight.grad is None
