"""What is to be seen in a picture."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from tests.writers.reading import accumulated

Pixels = np.ndarray


def images(directory: Path, tag: str) -> list[tuple[int, Pixels]]:
    """Step and RGB pixels of each image, as TensorBoard reads them."""
    return [
        (event.step, np.array(Image.open(io.BytesIO(event.encoded_image_string)).convert("RGB")))
        for event in accumulated(directory).Images(tag)
    ]


def has(picture: Pixels, colour: tuple[int, int, int], least: int = 300) -> bool:
    """Whether so many pixels have this colour: an area, and not only the edge of a letter."""
    return int((picture == np.array(colour, np.uint8)).all(-1).sum()) >= least


def colours(picture: Pixels) -> int:
    return len(np.unique(picture.reshape(-1, 3), axis=0))
