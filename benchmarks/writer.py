"""What writing costs, beside torch's SummaryWriter: `python benchmarks/writer.py`.

Medians over repetitions of both in turn, of the whole way: from the call to the bytes in the
file, with everything that the writer's thread does. What the calling thread alone pays stands in
a column of its own. It is wall time: on a busy machine judge the ratios.
"""

import argparse
import io
import statistics
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from PIL import Image

from trainkit.writers import BackgroundWriter, Scalars, open_writer

__all__ = ["main"]


def alternating(repetitions: int, cases: Mapping[str, Callable[[], float]]) -> dict[str, float]:
    """Median of what each case returns; all of them run once in each repetition."""
    found: dict[str, list[float]] = {name: [] for name in cases}
    for case in cases.values():
        case()
    for _ in range(repetitions):
        for name, case in cases.items():
            found[name].append(case())
    return {name: statistics.median(values) for name, values in found.items()}


def seconds(act: Callable[[], object]) -> float:
    start = perf_counter()
    act()
    return perf_counter() - start


@contextmanager
def both() -> Iterator[tuple[BackgroundWriter, Any]]:
    """Ours and torch's, each in a directory of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.utils.tensorboard import SummaryWriter
    with tempfile.TemporaryDirectory() as directory:
        ours, theirs = open_writer(Path(directory) / "a"), SummaryWriter(f"{directory}/b")
        yield ours, theirs
        ours.close()
        theirs.close()


def whole(ours: BackgroundWriter, events: int, make: Callable[[], Any]) -> float:
    """Seconds per event, all of it."""

    def write() -> None:
        for step in range(events):
            ours.write_scalars(step, make())
        ours.flush()

    return seconds(write) / events


def calling(ours: BackgroundWriter, events: int, make: Callable[[], Any]) -> float:
    """Seconds per event, in the calling thread alone, with time for the other to keep up."""
    spent = 0.0
    for step in range(events):
        spent += seconds(lambda step=step: ours.write_scalars(step, make()))
        if step % 8 == 7:
            ours.flush()
    ours.flush()
    return spent / events


def add_each(theirs: Any, events: int, values: Mapping[str, float]) -> float:
    def write() -> None:
        for step in range(events):
            for tag, value in values.items():
                theirs.add_scalar(tag, value, step)
        theirs.flush()

    return seconds(write) / events


def scalar_row(size: int, repetitions: int) -> str:
    tags = tuple(f"tensors.gradients.norm/layers.{i}.attention.weight" for i in range(size))
    values = torch.rand(size)
    tensors = dict(zip(tags, values.unbind(), strict=True))
    numbers = dict(zip(tags, values.tolist(), strict=True))
    events = max(40, 4000 // size)
    with both() as (ours, theirs):
        cases = {
            "theirs": lambda: add_each(theirs, max(2, events // 10), numbers),
            "bulk": lambda: whole(ours, events, lambda: Scalars(tags, values)),
            "tensors": lambda: whole(ours, events, lambda: tensors),
            "numbers": lambda: whole(ours, events, lambda: numbers),
            "calling, bulk": lambda: calling(ours, events, lambda: Scalars(tags, values)),
            "calling, tensors": lambda: calling(ours, events, lambda: tensors),
        }
        found = alternating(repetitions, cases)
    cells = [f"{found[name] / size * 1e6:12.3f}" for name in cases]
    return f"{size:10d} {cells[0]:>15s} |" + "".join(cells[1:4]) + " |" + "".join(cells[4:])


def image_row(name: str, pixels: np.ndarray[Any, Any], repetitions: int) -> str:
    image = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
    with both() as (ours, theirs):

        def write_ours() -> None:
            ours.write_images(0, {"image": image})
            ours.flush()

        def write_theirs() -> None:
            theirs.add_image("image", image, 0)
            theirs.flush()

        found = alternating(
            repetitions,
            {
                "png": lambda: seconds(lambda: Image.fromarray(pixels).save(io.BytesIO(), "PNG")),
                "theirs": lambda: seconds(write_theirs),
                "ours": lambda: seconds(write_ours),
            },
        )
    cells = [f"{found[w] * 1e3:10.1f}{found[w] / found['png']:7.2f}x" for w in ("theirs", "ours")]
    return f"{name:>10s} {found['png'] * 1e3:15.1f} |{cells[0]} |{cells[1]}"


def histogram_row(elements: int, repetitions: int) -> str:
    values = torch.randn(elements, generator=torch.Generator().manual_seed(0))
    with both() as (ours, theirs):

        def write_ours() -> None:
            ours.write_histograms(0, {"histogram": values})
            ours.flush()

        def write_theirs() -> None:
            theirs.add_histogram("histogram", values, 0)
            theirs.flush()

        found = alternating(
            repetitions,
            {"theirs": lambda: seconds(write_theirs), "ours": lambda: seconds(write_ours)},
        )
    return f"{elements:10d} {found['theirs'] * 1e3:15.2f} |{found['ours'] * 1e3:12.2f}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="What writing costs, beside SummaryWriter.")
    parser.add_argument("--repetitions", type=int, default=9)
    repetitions = parser.parse_args().repetitions
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, medians of {repetitions}")

    print("\nScalars: microseconds per scalar, by the number of scalars in an event")
    print(" per event   SummaryWriter | open_writer, all of it             | calling thread alone")
    print(
        "                           |     Scalars     tensors     floats |     Scalars     tensors"
    )
    for size in (1, 10, 100, 1000):
        print(scalar_row(size, repetitions))

    print("\nImages, 512 x 512 x 3: milliseconds, and as a multiple of encoding the PNG")
    print("                 PNG alone |    SummaryWriter |      open_writer")
    rows, columns = np.mgrid[0:512, 0:512]
    smooth = np.stack([rows / 2, columns / 2, (rows + columns) / 4], axis=-1).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)
    for name, pixels in (("smooth", smooth), ("noise", noise)):
        print(image_row(name, pixels, repetitions))

    print("\nHistograms of raw values: milliseconds per histogram")
    print("  elements   SummaryWriter | open_writer")
    for elements in (1_000, 100_000, 1_000_000):
        print(histogram_row(elements, repetitions))


if __name__ == "__main__":
    main()
