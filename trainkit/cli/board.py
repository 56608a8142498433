"""`trainkit board`: TensorBoard over a folder of runs."""

import argparse
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from trainkit.cli.failure import UsageError, tell
from trainkit.dashboard.contents import contents_of
from trainkit.dashboard.pages import pages

__all__ = ["main"]

_HOST = "127.0.0.1"  # only this machine can connect


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see trainkit board --help")


def main(arguments: Sequence[str]) -> int:
    """Start TensorBoard, by default on 127.0.0.1 only.

    Before, the pages that answer a question are printed: each an address to click.

    Raises:
        UsageError: The folder is not there, holds no run, or host or port cannot be had.
    """
    parser = _Parser(prog="trainkit board", description="TensorBoard over a folder of runs.")
    parser.add_argument("directory", nargs="?", default="runs", help="a run, or a folder of runs")
    parser.add_argument("--port", type=int, help="by default 6006, or the next one that is free")
    parser.add_argument(
        "--host",
        default=_HOST,
        help="the address to listen on, by default 127.0.0.1: this machine alone; 0.0.0.0 lets in "
        "everybody who reaches this machine, without a password",
    )
    parser.add_argument("--open", action="store_true", help="open the first page in the browser")
    given = parser.parse_args(arguments)
    directory = Path(given.directory)
    if not directory.is_dir():
        raise UsageError(
            f"there is no folder {given.directory!r} to show; train something first: "
            "trainkit run +experiment=digits"
        )
    if next(directory.rglob("*tfevents*"), None) is None:
        raise UsageError(f"no run in {given.directory!r} has written anything to show")
    port = _port(given.port, given.host)
    everywhere = given.host in ("0.0.0.0", "::")  # noqa: S104
    shown = _HOST if everywhere else f"[{given.host}]" if ":" in given.host else given.host
    address = f"http://{shown}:{port}/"
    shown_pages = pages(address, contents_of(directory))
    command = [
        # -P: the working folder is not searched, where a file `random.py` may lie.
        sys.executable, "-P", "-m", "trainkit.cli.dashboard",
        *(["--open", shown_pages[0].address] if given.open else []),
        "--logdir", str(directory), "--host", given.host, "--port", str(port),
        # TensorBoard thins out by default: to 10 images and 1,000 points.
        "--samples_per_plugin", "images=200,scalars=10000,histograms=200,text=200",
    ]  # fmt: skip
    note = ", to everybody who reaches this machine" if everywhere else ""
    tell(f"{address} shows {directory.resolve()}{note}; Ctrl-C ends it")
    width = max(len(page.question) for page in shown_pages)
    for page in shown_pages:
        print(f"  {page.question:{width}}  {page.address}", file=sys.stderr, flush=True)
    os.execv(sys.executable, command)  # noqa: S606  # no shell, a fixed program


def _port(wanted: int | None, host: str) -> int:
    """The wanted port if it is free, else the first free one from TensorBoard's usual one on."""
    if wanted is not None and not 0 < wanted < 65536:
        raise UsageError(f"--port must be between 1 and 65535, got {wanted}")
    try:
        family, kind, protocol, _, found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(found)
    except OSError as error:
        raise UsageError(
            f"--host must be an address of this machine (127.0.0.1, 0.0.0.0, ...), got {host!r}: "
            f"{error.strerror}"
        ) from error
    for port in [wanted] if wanted is not None else range(6006, 6106):
        with socket.socket(family, kind, protocol) as probe:
            # Bind as TensorBoard does: a port that a server has just left counts as free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((found[0], port, *found[2:]))
            except OSError:
                continue
            return port
    if wanted is not None:
        raise UsageError(f"port {wanted} is taken; leave --port out to get a free one")
    raise UsageError("ports 6006 to 6105 are all taken; choose another one with --port")
