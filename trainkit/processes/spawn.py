"""Start the processes of a run on this machine, and end when they have ended."""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import connection, get_context
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType
from typing import Any

from trainkit.processes.launched import RankInfo, quiet_torch

__all__ = ["run_processes"]

_GRACE = 30.0  # seconds that the others have to end when one has failed
_SIGNAL = 128  # exit statuses from here on are those of signals
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")


def run_processes(count: int, function: Callable[[RankInfo, Any], int], argument: Any) -> int:
    """Call a function in several new processes, and wait for all of them.

    They meet in a file, and talk over the machine's own network interface only. A signal to this
    process goes on to each of them. When one fails, the others have half a minute to end by
    themselves.

    Args:
        count: How many.
        function: Called with the place and the argument; returns the exit status. Importable.
        argument: Can be pickled.

    Returns:
        The exit status of the first process if it is not 0, else that of one that failed.
    """
    context = get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="trainkit-") as folder:
        meeting = str(Path(folder) / "meeting")
        processes = [
            context.Process(
                target=_child,
                args=(RankInfo(rank, count, rank, meeting=meeting), function, argument),
                name=f"trainkit-rank-{rank}",
            )
            for rank in range(count)
        ]
        with _handed_on(processes):
            for process in processes:
                process.start()
            _wait(processes)
    ends = [_status(process) for process in processes]
    return ends[0] or next((end for end in ends if end), 0)


def _child(place: RankInfo, function: Callable[[RankInfo, Any], int], argument: Any) -> None:
    # Ctrl-C in a terminal goes to the parent alone, which hands it on once.
    os.setpgid(0, 0)
    quiet_torch()
    # As many threads in all as one process would have: more get in each other's way.
    os.environ.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // place.world, 1)))
    sys.exit(function(place, argument))


def _wait(processes: list[SpawnProcess]) -> None:
    deadline: float | None = None
    while running := [process for process in processes if process.is_alive()]:
        left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
        connection.wait([process.sentinel for process in running], left)
        failed = any(_failed(process) for process in processes)
        if failed and deadline is None:
            deadline = time.monotonic() + _GRACE
        if deadline is not None and time.monotonic() >= deadline:
            for process in running:
                process.kill()


def _failed(process: SpawnProcess) -> bool:
    """Not one that was asked to stop: the first one may still be saving."""
    code = process.exitcode
    return code is not None and (code < 0 or 0 < code < _SIGNAL)


def _status(process: SpawnProcess) -> int:
    """As a shell has it: 128 + the number of the signal that ended it."""
    code = process.exitcode
    return 1 if code is None else _SIGNAL - code if code < 0 else code


@contextmanager
def _handed_on(processes: list[SpawnProcess]) -> Iterator[None]:
    """Send the signals that this process gets to all of them."""

    def hand_on(number: int, frame: FrameType | None) -> None:
        del frame
        for process in processes:
            if process.pid is not None and process.exitcode is None:
                os.kill(process.pid, number)

    before = {}
    for name in _SIGNALS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            before[number] = signal.signal(number, hand_on)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
