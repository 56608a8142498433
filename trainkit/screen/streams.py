"""Standard output and error that never raise: a full disk or a closed pipe ends no training."""

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

__all__ = ["LOCK", "Guard", "guarded_streams", "open_closed_streams", "settle_streams"]

_log = logging.getLogger("trainkit.screen")
_GUARD = "_trainkit_guard"


class _Lock:
    """One lock for both streams and the bar; a forked child begins with a free one."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


LOCK = _Lock()


class Guard:
    """Takes the place of the `write` and `flush` of one stream, and keeps their errors in.

    The methods of the stream object itself are replaced, and not `sys.stdout`: a logging handler
    that was made earlier, and everybody else who holds the stream, goes through here too.

    Args:
        stream: A text stream.
        name: What to call it when it fails.
    """

    def __init__(self, stream: Any, name: str) -> None:
        self.stream = stream
        self.name = name
        self.at_line_start = True
        self.before_write: Callable[[], None] | None = None
        self._write, self._flush = stream.write, stream.flush
        self._failed = False
        #: Whether something could not be written, to a reader who had not gone away.
        self.lost = False

    def write(self, text: str) -> int:
        """What the stream's `write` does, but it never raises what the stream cannot help."""
        with LOCK:
            if self.before_write is not None:
                self.before_write()
            self.write_raw(text)
            if text:
                self.at_line_start = text.endswith("\n")
        return len(text)

    def write_raw(self, text: str) -> None:
        """Write without telling `before_write`."""
        try:
            self._write(text)
        except UnicodeEncodeError:
            encoding = getattr(self.stream, "encoding", None) or "ascii"
            with suppress(OSError, ValueError):
                self._write(text.encode(encoding, "backslashreplace").decode(encoding))
        except (OSError, ValueError) as error:
            self._fail(error)

    def flush(self) -> None:
        """What the stream's `flush` does; it never raises what the stream cannot help."""
        try:
            self._flush()
        except (OSError, ValueError) as error:
            self._fail(error)

    def install(self) -> None:
        """Stand in front of the stream."""
        setattr(self.stream, _GUARD, self)
        self.stream.write, self.stream.flush = self.write, self.flush

    def remove(self) -> None:
        """Put the stream's own methods back."""
        for name in (_GUARD, "write", "flush"):
            with suppress(AttributeError):
                delattr(self.stream, name)

    def _fail(self, error: Exception) -> None:
        if isinstance(error, ValueError) and not getattr(self.stream, "closed", False):
            raise error
        if isinstance(error, BrokenPipeError):
            _to_null_device(self.stream)  # nobody will ever read it again
        else:
            self.lost = True
        if not self._failed:
            self._failed = True  # first: what is logged may come back to this stream
            # `trainkit list | head` is no fault: nobody has set logging up there, a run has.
            quiet = isinstance(error, BrokenPipeError) and not logging.getLogger().handlers
            level = logging.INFO if quiet else logging.WARNING
            # Without a run nobody has set logging up: then the line is all that is said.
            form = "%s cannot be written (%s); the run goes on"
            form = form if logging.getLogger().handlers else "trainkit: %s cannot be written (%s)"
            _log.log(level, form, self.name, error)


@contextmanager
def guarded_streams() -> Iterator[tuple[Guard | None, Guard | None]]:
    """Until the end no write to standard output or error raises, whoever writes.

    Yields:
        The guards of both; None where there is no stream, or one that cannot be guarded.
    """
    made: list[Guard] = []
    try:
        yield (
            _guarded(sys.stdout, "standard output", made),
            _guarded(sys.stderr, "standard error", made),
        )
    finally:
        for guard in made:
            guard.remove()


def _guarded(stream: Any, name: str, made: list[Guard]) -> Guard | None:
    if stream is None:
        return None
    found: Guard | None = getattr(stream, "__dict__", {}).get(_GUARD)
    if found is not None:  # an outer context has replaced it, and will restore it
        return found
    try:
        guard = Guard(stream, name)
        guard.install()
    except AttributeError:  # a stream that takes no attributes
        return None
    made.append(guard)
    return guard


def open_closed_streams() -> None:
    """Open standard streams that are closed (`2>&-`) on the null device.

    To be called before any other file is opened: that one would get the number of the closed
    stream, and whatever is written to standard error would go into it.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:  # a lower descriptor was free, so this is not a standard stream
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
            if getattr(sys, name) is None:
                setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def settle_streams() -> None:
    """Flush standard output and error; what they do not take is dropped.

    Python flushes them when it ends, and would end with status 120 if that failed.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except (OSError, ValueError):
            _to_null_device(stream)
            with suppress(OSError, ValueError):
                stream.flush()


def _to_null_device(stream: Any) -> None:
    with suppress(OSError, ValueError, AttributeError):
        number = stream.fileno()
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, number)
        os.close(null)
