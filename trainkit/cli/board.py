"""`trainkit board`: TensorBoard over a folder of runs."""

import argparse
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from trainkit.cli.failure import UsageError, tell

__all__ = ["main"]

_HOST = "127.0.0.1"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see trainkit board --help")


def main(arguments: Sequence[str]) -> int:
    """Become TensorBoard, listening on 127.0.0.1 alone.

    Raises:
        UsageError: The folder is not there, holds no run, or the port is taken.
    """
    parser = _Parser(
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
    port = _port(given.port)
    command = [
        sys.executable, "-m", "tensorboard.main",
        "--logdir", str(directory), "--host", _HOST, "--port", str(port),
        # TensorBoard thins out by default: to 10 images and 1,000 points.
        "--samples_per_plugin", "images=200,scalars=10000,histograms=200,text=200",
    ]  # fmt: skip
    tell(f"http://{_HOST}:{port}/ shows {directory.resolve()}; Ctrl-C ends it")
    os.execv(sys.executable, command)  # noqa: S606  # no shell, a fixed program


def _port(wanted: int | None) -> int:
    """The wanted port if it is free, else the first free one from TensorBoard's usual one on."""
    if wanted is not None and not 0 < wanted < 65536:
        raise UsageError(f"--port must be between 1 and 65535, got {wanted}")
    for port in [wanted] if wanted is not None else range(6006, 6106):
        with socket.socket() as probe:
            # As TensorBoard binds it: one that a server has just left is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((_HOST, port))
            except OSError:
                continue
            return port
    if wanted is not None:
        raise UsageError(f"port {wanted} is taken; leave --port out to get a free one")
    raise UsageError("ports 6006 to 6105 are all taken; choose another one with --port")
