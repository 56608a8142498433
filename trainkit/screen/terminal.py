"""What a stream is connected to: a terminal, how wide, with colours or not."""

import os
from typing import Any

__all__ = ["can_encode", "has_color", "is_interactive", "width_of"]


def is_interactive(stream: Any) -> bool:
    """Whether a line on it can be drawn again: it is a terminal, and not a dumb one."""
    try:
        terminal = stream is not None and stream.isatty()
    except (ValueError, AttributeError):  # closed, or no real stream
        return False
    return bool(terminal) and os.environ.get("TERM", "") != "dumb"


def has_color(stream: Any) -> bool:
    """Whether colours may be used: on a terminal, unless NO_COLOR (no-color.org) is set."""
    return is_interactive(stream) and not os.environ.get("NO_COLOR")


def width_of(stream: Any) -> int | None:
    """Columns of the terminal; None where there is none: lines may have any length."""
    try:
        if stream is None or not stream.isatty():
            return None
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError, AttributeError):
        return None


def can_encode(stream: Any, text: str) -> bool:
    """Whether the stream's encoding has these characters."""
    try:
        text.encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
