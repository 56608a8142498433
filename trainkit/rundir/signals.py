"""Signals end a run at the end of an iteration, so that its state can be saved."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

__all__ = ["Interrupted", "Interruption", "interruption"]

# HUP: the terminal was closed. USR1, USR2: batch systems send one before they end a job.
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop.

    Not an `Exception`, so that nobody who guards against faults takes it for one.

    Args:
        number: Of the signal.
        at_once: It was asked twice: nothing is to be saved any more.
    """

    def __init__(self, number: int, *, at_once: bool = False) -> None:
        self.signal = signal.Signals(number)
        self.at_once = at_once
        super().__init__(self.signal.name)

    @property
    def exit_status(self) -> int:
        """128 + the number of the signal, as shells expect: 130 for INT, 143 for TERM."""
        return 128 + self.signal


class Interruption:
    """Remembers a request to stop, and stops the run at a safe place."""

    def __init__(self) -> None:
        self.asked: int | None = None
        self._process = os.getpid()

    def ask(self, number: int, frame: FrameType | None = None) -> None:
        """Note the first request; at the second, stop at once.

        Raises:
            Interrupted: This is the second request.
        """
        del frame
        if os.getpid() != self._process:
            _in_a_forked_child(number)
            return
        if self.asked is not None:
            raise Interrupted(number, at_once=True)
        self.asked = number
        _tell(
            f"\ntrainkit: {signal.Signals(number).name}: stopping after this iteration; "
            "once more stops at once\n"
        )

    def check(self) -> None:
        """Raise if a stop was requested.

        Raises:
            Interrupted: It was.
        """
        if self.asked is not None:
            raise Interrupted(self.asked)


def _tell(text: str) -> None:
    """Write past Python's buffers: the signal may have interrupted a print to the same stream."""
    # Do not use descriptor 2 itself: if standard error was closed, it may be another file.
    with suppress(OSError, ValueError, AttributeError):
        os.write(sys.stderr.fileno(), text.encode())


def _in_a_forked_child(number: int) -> None:
    """A worker of a data loader inherits the handler, and Ctrl-C goes to all of a terminal.

    It must live on until the run no longer needs its data; being terminated is another thing.
    """
    if number != signal.SIGINT:
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)


@contextmanager
def interruption() -> Iterator[Interruption]:
    """Catch INT, TERM, HUP, USR1 and USR2; outside of the main thread, Python cannot: do nothing.

    A signal that is ignored when the run begins (`nohup`, `command &` in a script) stays so.
    """
    caught = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before = {}
    for name in _NAMES:
        number = getattr(signal, name, None)  # Windows has only two of them
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            before[number] = signal.signal(number, caught.ask)
    try:
        yield caught
    finally:
        for number, handler in before.items():
            # None: a handler that was not set from Python and cannot be put back
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
