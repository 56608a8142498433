"""A progress bar: one line at the bottom of a terminal."""

import os

from trainkit.screen.streams import LOCK, Guard
from trainkit.screen.terminal import can_encode, is_interactive, width_of

__all__ = ["Bar"]

_ERASE = "\r\x1b[K"


class Bar:
    """A line on standard error that is taken away before anybody else writes.

    It is there on a terminal only. While somebody's own line is unfinished (a `print` without a
    newline, another bar) it stays away.

    Args:
        out: The guard of standard output, or None.
        err: The guard of standard error, or None.
        show: False: never show it.
    """

    def __init__(self, out: Guard | None, err: Guard | None, *, show: bool = True) -> None:
        self._err = err if show and err is not None and is_interactive(err.stream) else None
        self._guards = [
            guard
            for guard in (out, err)
            if self._err is not None and guard is not None and is_interactive(guard.stream)
        ]
        self._visible = False
        self._process = os.getpid()
        for guard in self._guards:
            guard.before_write = self.clear

    @property
    def shown(self) -> bool:
        """Whether there is a terminal to show it on."""
        return self._err is not None

    def draw(self, done: float, text: str) -> None:
        """Show the share `done` as a bar, and the text beside it, cut to the terminal's width."""
        if self._err is None or os.getpid() != self._process:
            return
        width = (width_of(self._err.stream) or 80) - 1
        full, empty = ("━", "╌") if can_encode(self._err.stream, "━╌") else ("#", "-")
        cells = min(30, width - len(text) - 1)
        if cells >= 8:
            filled = round(min(max(done, 0.0), 1.0) * cells)
            text = f"{full * filled}{empty * (cells - filled)} {text}"
        with LOCK:
            if not all(guard.at_line_start for guard in self._guards):
                return
            self._err.write_raw(f"{_ERASE}{text[:width]}")
            self._err.flush()
            self._visible = True

    def clear(self) -> None:
        """Take it away until it is drawn again."""
        # A forked child (a loader's worker) must not move the bar of its parent.
        if not self._visible or self._err is None or os.getpid() != self._process:
            return
        with LOCK:
            if self._visible:
                self._visible = False
                self._err.write_raw(_ERASE)
                self._err.flush()

    def close(self) -> None:
        """Take it away for good; harmless when it is gone."""
        self.clear()
        for guard in self._guards:
            guard.before_write = None
        self._err, self._guards = None, []
