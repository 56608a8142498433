import io
import os
import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tensorboard.plugins.hparams import metadata as hparams_metadata

from tests.writers.reading import (
    accumulated,
    event_files,
    migrated_events,
    raw_events,
    raw_scalars,
)
from trainkit.writers import EventFileWriter, Scalars, open_writer
from trainkit.writers.step.host_step import ScalarChunk, Step

TAGS = st.text(max_size=300)
FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=True)


def bits(number: float) -> bytes:
    return b"nan" if number != number else struct.pack("<f", number)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    st.dictionaries(
        st.integers(0, 2**62), st.dictionaries(TAGS, FLOATS, min_size=1, max_size=8), max_size=5
    ),
    st.booleans(),
)
def test_scalars_arrive_bit_for_bit(steps: dict[int, dict[str, float]], in_bulk: bool) -> None:
    """Any tag, any float32, through every way of writing; -0.0 and denormals too."""
    with tempfile.TemporaryDirectory() as directory:
        writer = EventFileWriter(directory)
        for step in sorted(steps):
            values = torch.tensor(list(steps[step].values()), dtype=torch.float32)
            if in_bulk:
                writer.write_scalars(step, Scalars(tuple(steps[step]), values))
            else:
                writer.write_scalars(step, dict(zip(steps[step], values.unbind(), strict=True)))
        writer.close()
        found = raw_scalars(Path(directory))
    expected: dict[str, list[tuple[int, bytes]]] = {}
    for step in sorted(steps):
        for tag, value in steps[step].items():
            expected.setdefault(tag, []).append((step, bits(value)))
    assert {t: [(s, bits(v)) for s, v in points] for t, points in found.items()} == expected


CHUNKS = st.lists(
    st.sampled_from(
        [("loss/total", "loss/l2"), ("loss/total",), ("tensors.weights.norm/w", "a", "b")]
    ),
    max_size=3,
)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.lists(CHUNKS, max_size=8), st.randoms(use_true_random=False))
def test_steps_that_come_together_are_written_as_if_each_came_alone(
    kinds: list[list[tuple[str, ...]]], random: Random
) -> None:
    """Alike or not, with other things or without; of a tag that comes twice the last value."""
    numbers = [0.1, -0.0, 3e38, float("nan"), float("inf"), 1e300, 2.0**-149]
    steps = [
        Step(
            step * random.choice([1, 1000]),  # of the event's bytes, more or fewer
            100.5 + step,
            [ScalarChunk(tags, np.array(random.choices(numbers, k=len(tags)))) for tags in kind],
            texts={"note": str(step)} if random.random() < 0.3 else {},
        )
        for step, kind in enumerate(kinds)
    ]
    with tempfile.TemporaryDirectory() as directory:
        for name, batches in (("together", [steps]), ("alone", [[step] for step in steps])):
            writer = EventFileWriter(Path(directory, name))
            for batch in batches:
                writer.write(batch)
            writer.close()
        found, expected = (
            [event.SerializeToString() for event in raw_events(path)][1:]
            for name in ("together", "alone")
            for path in event_files(Path(directory, name))
        )
        values = raw_scalars(Path(directory, "together"))
    assert found == expected
    assert len(found) == len(steps)
    last = {(step.step, tag): x for step in steps for tag, x in step.scalars.items()}
    read = {(step, tag): x for tag, points in values.items() for step, x in points}
    assert read.keys() == last.keys()
    with np.errstate(over="ignore"):
        assert {k: bits(x) for k, x in read.items()} == {
            k: bits(float(np.float32(x))) for k, x in last.items()
        }


def test_the_web_page_and_the_accumulator_read_the_same(tmp_path: Path) -> None:
    tags = ["loss/total", "ünï cöde 损失 🙂", "with spaces", "x" * 100_000, "a/b/c.d[0]"]
    writer = EventFileWriter(tmp_path)
    for step in range(3):
        writer.write_scalars(step, {tag: step + i / 8 for i, tag in enumerate(tags)})
    writer.close()
    accumulator = accumulated(tmp_path)
    assert sorted(accumulator.Tags()["scalars"]) == sorted(tags)
    for i, tag in enumerate(tags):
        points = [(e.step, e.value) for e in accumulator.Scalars(tag)]
        assert points == [(step, step + i / 8) for step in range(3)]
    (path,) = event_files(tmp_path)
    values = [v for event in migrated_events(path) for v in event.summary.value]
    assert {v.metadata.plugin_data.plugin_name for v in values} == {"scalars"}
    assert len(values) == 15


@pytest.mark.parametrize(
    ("dtype", "number"),
    [
        (torch.bfloat16, 1e-8), (torch.bfloat16, 1e5), (torch.float16, 6e-8),
        (torch.float8_e5m2, 2.0), (torch.float64, 0.1), (torch.int64, 2**40), (torch.int8, -3),
        (torch.uint8, 255), (torch.int32, -(2**31)), (torch.bool, True), (torch.uint16, 65535),
        (torch.uint32, 2**32 - 1), (torch.float32, 1e-45),
    ],
)  # fmt: skip
def test_every_real_dtype_arrives_undistorted(
    tmp_path: Path, dtype: torch.dtype, number: float
) -> None:
    value = torch.tensor(number, dtype=torch.float64).to(dtype)
    writer = EventFileWriter(tmp_path)
    writer.write_scalars(1, {"one": value, "of_shape_1": value.reshape(1)})
    writer.write_scalars(1, Scalars(("bulk",), value.reshape(1)))
    writer.close()
    expected = float(np.float32(float(value)))
    assert expected != 0.0
    found = raw_scalars(tmp_path)
    assert found == {tag: [(1, expected)] for tag in ("one", "of_shape_1", "bulk")}


def test_python_and_numpy_numbers(tmp_path: Path) -> None:
    values = {"int": 3, "bool": True, "np32": np.float32(0.5), "np64": np.int64(7), "big": 1e300}
    writer = EventFileWriter(tmp_path)
    writer.write_scalars(1, values)
    writer.close()
    expected = {"int": 3.0, "bool": 1.0, "np32": 0.5, "np64": 7.0, "big": float("inf")}
    assert raw_scalars(tmp_path) == {tag: [(1, value)] for tag, value in expected.items()}


def test_everything_of_a_step_is_one_event_in_order(tmp_path: Path) -> None:
    writer = EventFileWriter(tmp_path)
    for step in (1, 2):
        writer.write_scalars(step, {"a": 1.0})
        writer.write_histograms(step, {"h": torch.ones(3)})
        writer.write_texts(step, {"t": "*text*"})
        writer.write_scalars(step, {"b": torch.tensor(2.0)})
        writer.write_images(step, {"i": torch.zeros(4, 4)})
    writer.close()
    (path,) = event_files(tmp_path)
    version, *events = raw_events(path)
    assert version.file_version == "brain.Event:2"
    assert [event.step for event in events] == [1, 2]
    assert [[v.tag for v in event.summary.value] for event in events] == [
        ["a", "b", "h", "i", "t"]
    ] * 2
    assert version.wall_time <= events[0].wall_time <= events[1].wall_time


def test_the_last_value_of_a_tag_written_twice_is_kept(tmp_path: Path) -> None:
    writer = EventFileWriter(tmp_path)
    writer.write_scalars(1, {"a": 1.0, "b": 5.0})
    writer.write_scalars(1, {"a": torch.tensor(2.0)})
    writer.write_histograms(1, {"h": torch.zeros(9)})
    writer.write_histograms(1, {"h": torch.ones(4)})
    writer.close()
    assert raw_scalars(tmp_path) == {"a": [(1, 2.0)], "b": [(1, 5.0)]}
    (histogram,) = accumulated(tmp_path).Histograms("h")
    assert histogram.histogram_value.num == 4


def test_what_was_written_may_be_overwritten_at_once(tmp_path: Path) -> None:
    number, data, image = torch.tensor(1.0), torch.ones(4), torch.full((2, 2), 255).byte()
    writer = EventFileWriter(tmp_path)
    writer.write_scalars(1, {"a": number})
    writer.write_histograms(1, {"h": data})
    writer.write_images(1, {"i": image})
    for tensor in (number, data, image):
        tensor.zero_()
    writer.close()
    accumulator = accumulated(tmp_path)
    assert accumulator.Scalars("a")[0].value == 1.0
    assert accumulator.Histograms("h")[0].histogram_value.sum == 4.0
    png = accumulator.Images("i")[0].encoded_image_string
    assert np.asarray(Image.open(io.BytesIO(png))).min() == 255


def test_texts_are_read_by_the_text_plugin(tmp_path: Path) -> None:
    writer = EventFileWriter(tmp_path)
    writer.write_texts(4, {"samples/text": "**bold** ünï \ud800"})
    writer.close()
    accumulator = accumulated(tmp_path)
    (event,) = accumulator.Tensors("samples/text")
    assert event.step == 4
    assert event.tensor_proto.string_val[0].decode() == "**bold** ünï \\ud800"
    plugin = accumulator.SummaryMetadata("samples/text").plugin_data.plugin_name
    assert plugin == "text"


def test_hparams_go_into_the_file_of_the_run(tmp_path: Path) -> None:
    hparams = {"lr": 0.1, "epochs": 3, "nesterov": True, "optimizer": "sgd"}
    writer = EventFileWriter(tmp_path)
    writer.write_hparams(0, hparams)
    writer.close()
    assert os.listdir(tmp_path) == [event_files(tmp_path)[0].name]
    accumulator = accumulated(tmp_path)
    content = accumulator.summary_metadata[hparams_metadata.SESSION_START_INFO_TAG].plugin_data
    started = hparams_metadata.parse_session_start_info_plugin_data(content.content)
    read = {k: getattr(v, v.WhichOneof("kind")) for k, v in started.hparams.items()}
    assert read == hparams
    assert read["nesterov"] is True
    content = accumulator.summary_metadata[hparams_metadata.SESSION_END_INFO_TAG].plugin_data
    ended = hparams_metadata.parse_session_end_info_plugin_data(content.content)
    assert ended.end_time_secs >= started.start_time_secs > 0


def test_subruns_are_folders_and_end_with_the_run(tmp_path: Path) -> None:
    writer = EventFileWriter(tmp_path)
    writer.write_scalars(1, {"loss/total": 1.0})
    assert writer.subrun("validation") is writer.subrun("validation")
    writer.subrun("validation").write_scalars(1, {"loss/total": 2.0})
    writer.close()
    assert raw_scalars(tmp_path) == {"loss/total": [(1, 1.0)]}
    assert raw_scalars(tmp_path / "validation") == {"loss/total": [(1, 2.0)]}
    with pytest.raises(RuntimeError, match="is closed"):
        writer.write_scalars(2, {"loss/total": 1.0})
    writer.close()


def test_two_writers_in_one_directory_do_not_touch_each_other(tmp_path: Path) -> None:
    one, other = EventFileWriter(tmp_path), EventFileWriter(tmp_path)
    for step in range(10):
        one.write_scalars(step, {"one": step})
        other.write_scalars(step, {"other": step})
    one.close()
    other.close()
    assert len(event_files(tmp_path)) == 2
    points = [(step, float(step)) for step in range(10)]
    assert raw_scalars(tmp_path) == {"one": points, "other": points}
    pattern = r"events\.out\.tfevents\.\d{10}\..+\.\d+\.\d+"
    assert all(re.fullmatch(pattern, path.name) for path in event_files(tmp_path))


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot write event files into '.*file/run'.*name a dir"):
        EventFileWriter(tmp_path / "file" / "run")


@pytest.mark.parametrize(
    ("verb", "values", "error", "message"),
    [
        ("write_scalars", {"a": torch.ones(3)}, ValueError, r"'a' must be a 0-d.*\[3\]"),
        ("write_scalars", {"a": "1"}, TypeError, "'a' must be a 0-d tensor or a number, got str"),
        ("write_scalars", {"a": torch.tensor(1j)}, TypeError, "must be real, got torch.complex64"),
        ("write_scalars", {3: 1.0}, TypeError, "a tag must be a str, got int 3"),
        ("write_histograms", {"a": [1.0]}, TypeError, "must be a tensor or a Histogram, got list"),
        ("write_histograms", {"a": torch.ones(2, 2).to_sparse()}, TypeError, "dense"),
        ("write_images", {"a": torch.zeros(5, 4, 4)}, ValueError, r"got \[5, 4, 4\]"),
        ("write_images", {"a": torch.zeros(4, 4).int()}, TypeError, "got torch.int32"),
        ("write_texts", {"a": 3}, TypeError, "'a' must be a str, got int"),
        ("write_hparams", {"a": [1]}, TypeError, r"got list \[1\]"),
        ("write_figures", {"a": object()}, TypeError, "must be a matplotlib Figure"),
    ],
)
def test_bad_values_are_refused_at_the_call(
    tmp_path: Path, verb: str, values: object, error: type[Exception], message: str
) -> None:
    """And what was fine in the same step is still written."""
    writer = open_writer(tmp_path)
    writer.write_scalars(1, {"fine": 1.0})
    with pytest.raises(error, match=message):
        getattr(writer, verb)(1, values)
    writer.close()
    assert raw_scalars(tmp_path) == {"fine": [(1, 1.0)]}


@pytest.mark.parametrize("step", [torch.tensor(3), 2**63, "3", 1.5])
def test_bad_steps_are_refused(tmp_path: Path, step: object) -> None:
    writer = EventFileWriter(tmp_path)
    with pytest.raises((TypeError, ValueError)):
        writer.write_scalars(step, {"a": 1.0})  # type: ignore[arg-type]
    writer.close()


def test_importing_the_writers_does_not_load_tensorboard() -> None:
    code = (
        "import sys, trainkit.writers; "
        "sys.exit(any(m in sys.modules for m in ('tensorboard', 'PIL', 'ignite', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
