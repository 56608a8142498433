import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.writers.reading import accumulated
from trainkit.writers import EventFileWriter


def read_back(directory: Path, image: torch.Tensor) -> tuple[Any, np.ndarray[Any, Any]]:
    writer = EventFileWriter(directory)
    writer.write_images(2, {"samples": image})
    writer.close()
    (event,) = accumulated(directory).Images("samples")
    return event, np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))


@pytest.mark.parametrize("shape", [(5, 7), (1, 5, 7), (3, 5, 7), (4, 5, 7), (1, 3, 5, 7)])
def test_pixels_arrive_unchanged(tmp_path: Path, shape: tuple[int, ...]) -> None:
    image = torch.randint(0, 256, shape, dtype=torch.uint8)
    event, found = read_back(tmp_path, image)
    assert (event.step, event.height, event.width) == (2, 5, 7)
    channels = shape[-3] if len(shape) > 2 else 1
    expected = image.reshape(channels, 5, 7).permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(found, expected if channels > 1 else expected[..., 0])


@pytest.mark.parametrize("n", [2, 3, 5, 9])
def test_several_images_are_laid_out_in_a_grid(tmp_path: Path, n: int) -> None:
    images = torch.randint(0, 256, (n, 3, 4, 6), dtype=torch.uint8)
    _, found = read_back(tmp_path, images)
    columns = found.shape[1] // 6
    rows = found.shape[0] // 4
    assert rows * columns >= n
    assert abs(rows - columns) <= 1
    for i in range(rows * columns):
        top, left = i // columns * 4, i % columns * 6
        expected = images[i].permute(1, 2, 0).numpy() if i < n else 0
        np.testing.assert_array_equal(found[top : top + 4, left : left + 6], expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_floats_run_from_black_to_white(tmp_path: Path, dtype: torch.dtype) -> None:
    image = torch.tensor([[0.0, 0.5, 1.0], [-3.0, 7.0, float("nan")]], dtype=dtype)
    _, found = read_back(tmp_path, image)
    assert found.tolist() == [[0, 128, 255], [0, 255, 0]]


def test_bool_is_black_and_white(tmp_path: Path) -> None:
    _, found = read_back(tmp_path, torch.tensor([[True, False]]))
    assert found.tolist() == [[255, 0]]


class Drawing:
    """What the writer needs of matplotlib's Figure."""

    def savefig(self, file: Any, *, format: str) -> None:  # noqa: A002
        Image.new("RGBA", (6, 4), (255, 0, 0, 255)).save(file, format)


def test_anything_that_saves_like_a_figure_is_a_picture(tmp_path: Path) -> None:
    writer = EventFileWriter(tmp_path)
    writer.write_figures(1, {"figure": Drawing()})  # type: ignore[dict-item]
    writer.close()
    (event,) = accumulated(tmp_path).Images("figure")
    assert (event.width, event.height) == (6, 4)
    found = np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))
    np.testing.assert_array_equal(found, np.broadcast_to([255, 0, 0], (4, 6, 3)))


def test_matplotlib_figures(tmp_path: Path) -> None:
    figures = pytest.importorskip("matplotlib.figure")
    figure = figures.Figure(figsize=(2, 1), dpi=50)
    figure.subplots().plot([1, 2])
    writer = EventFileWriter(tmp_path)
    writer.write_figures(1, {"figure": figure})
    writer.close()
    (event,) = accumulated(tmp_path).Images("figure")
    assert (event.width, event.height) == (100, 50)
