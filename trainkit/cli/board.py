"""`trainkit board`: TensorBoard over a folder of runs."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from trainkit.cli.failure import UsageError

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Become TensorBoard, listening on 127.0.0.1 alone.

    Raises:
        UsageError: The folder is not there, or holds no run.
    """
    parser = argparse.ArgumentParser(
        prog="trainkit board", description="TensorBoard on 127.0.0.1 over a folder of runs."
    )
    parser.add_argument("directory", nargs="?", default="runs", help="a run, or a folder of runs")
    parser.add_argument("--port", type=int, help="by default 6006, or the next one that is free")
    given = parser.parse_args(arguments)
    directory = Path(given.directory)
    if not directory.is_dir():
        raise UsageError(
            f"there is no folder {given.directory!r} to show; train something first: "
            "trainkit run +experiment=digits"
        )
    if next(directory.rglob("*tfevents*"), None) is None:
        raise UsageError(f"no run in {given.directory!r} has written anything to show")
    command = [
        sys.executable, "-m", "tensorboard.main", "--logdir", str(directory),
        "--host", "127.0.0.1",
        # TensorBoard thins out by default: to 10 images and 1,000 points.
        "--samples_per_plugin", "images=200,scalars=10000,histograms=200,text=200",
    ]  # fmt: skip
    if given.port is not None:
        command += ["--port", str(given.port)]
    print(f"TensorBoard over {directory.resolve()}; Ctrl-C ends it", file=sys.stderr, flush=True)
    os.execv(sys.executable, command)  # noqa: S606  # no shell, a fixed program
