"""A terminal of a given width that tests can read."""

import fcntl
import io
import os
import pty
import re
import struct
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


class Screen:
    """What a terminal has received, and what it shows of it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._parts: list[bytes] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                part = os.read(self._descriptor, 65536)
            except OSError:
                return
            if not part:
                return
            self._parts.append(part)

    def wait(self) -> str:
        """Everything that came, when nobody writes any more."""
        self._reader.join(timeout=10)
        return b"".join(self._parts).decode()

    def lines(self) -> list[str]:
        """What stands on it in the end, without colours."""
        return rendered(self.wait())


def rendered(text: str) -> list[str]:
    r"""The lines that a terminal shows: `\r` goes to the start, `ESC [K` erases to the end.

    >>> rendered("ab\rc\n\x1b[32mgreen\x1b[0m\nbar\r\x1b[Kx")
    ['cb', 'green', 'x']
    """
    lines = []
    for line in re.sub(r"\x1b\[[\d;]*m", "", text).split("\n"):
        shown, at = "", 0
        for piece in re.split(r"(\r|\x1b\[K)", line):
            if piece == "\r":
                at = 0
            elif piece == "\x1b[K":
                shown = shown[:at]
            else:
                shown = shown[:at] + piece + shown[at + len(piece) :]
                at += len(piece)
        lines.append(shown)
    return lines


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch, columns: int = 80) -> Iterator[Screen]:
    """Standard output and error are a terminal."""
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    screen = Screen(outer)
    streams = [
        io.TextIOWrapper(os.fdopen(os.dup(inner), "wb", buffering=0), "utf-8", write_through=True)
        for _ in range(2)
    ]
    os.close(inner)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    try:
        with monkeypatch.context() as patch:
            patch.setattr("sys.stdout", streams[0])
            patch.setattr("sys.stderr", streams[1])
            yield screen
    finally:
        for stream in streams:
            stream.close()
