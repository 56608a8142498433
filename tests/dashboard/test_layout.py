"""The layout, as TensorBoard's own plugin reads it."""

import re
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2, metadata

from trainkit.dashboard.layout import CATEGORIES, Band, Lines, layout_summary, write_layout


def test_the_layout_is_read_back_as_it_is_meant(tmp_path: Path) -> None:
    write_layout(tmp_path)
    found = EventAccumulator(str(tmp_path)).Reload()
    tag = metadata.CONFIG_SUMMARY_TAG
    assert found.SummaryMetadata(tag).plugin_data.plugin_name == metadata.PLUGIN_NAME
    (tensor,) = found.Tensors(tag)
    layout = layout_pb2.Layout.FromString(tensor.tensor_proto.string_val[0])
    assert [category.title for category in layout.category] == [c.question for c in CATEGORIES]
    for category, meant in zip(layout.category, CATEGORIES, strict=True):
        assert category.closed == meant.closed
        assert [chart.title for chart in category.chart] == [c.title for c in meant.charts]


def test_the_layout_has_the_same_bytes_every_time() -> None:
    assert layout_summary().SerializeToString() == layout_summary().SerializeToString()


def test_at_most_two_patterns_in_a_chart_and_one_band_in_a_category() -> None:
    for category in CATEGORIES:
        bands = [chart for chart in category.charts if isinstance(chart, Band)]
        assert len(bands) <= 1
        for chart in category.charts:
            if isinstance(chart, Lines):
                assert 1 <= len(chart.tags) <= 2
                assert all(pattern.endswith("$") for pattern in chart.tags)


@pytest.mark.parametrize(
    ("question", "tag"),
    [
        ("1.", "loss/total"),
        ("1.", "metrics/accuracy"),
        ("2.", "updates/generator/log10_global_ratio"),
        ("3.", "gradients/log10_global_norm_raw"),
        ("3.", "gradients/generator/clipped"),
        ("4.", "predictions/entropy_normalized"),
        ("5.", "tensors/dead_fraction_max"),
        ("5.", "tensors/generator/log10_gradient_norm_min"),
        ("6.", "hyperparameters/lr"),
        ("6.", "hyperparameters/generator/lr"),
        ("6.", "hyperparameters/momentum"),
        ("7.", "throughput/samples_per_second"),
        ("7.", "memory/process_resident_mib"),
    ],
)
def test_a_tag_is_in_exactly_one_chart_of_its_category(question: str, tag: str) -> None:
    (category,) = (c for c in CATEGORIES if c.question.startswith(question))
    charts = [
        chart
        for chart in category.charts
        if isinstance(chart, Lines) and any(re.match(pattern, tag) for pattern in chart.tags)
    ]
    assert len(charts) == 1, [chart.title for chart in charts]


def test_tags_of_single_tensors_are_in_no_chart() -> None:
    for category in CATEGORIES:
        for chart in category.charts:
            for pattern in chart.tags if isinstance(chart, Lines) else ():
                assert not re.match(pattern, "tensors.gradients.norm/0.weight")
