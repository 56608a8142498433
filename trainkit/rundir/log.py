"""Log a run into its `run.log`."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trainkit.masking import masked

__all__ = ["logged_to"]

_log = logging.getLogger("trainkit.rundir")

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# The user sees the errors of these loggers as exceptions.
_FILE_ONLY = frozenset({"trainkit.training", "ignite.engine.engine.Engine"})


@contextmanager
def logged_to(path: Path, *, screen: bool = True) -> Iterator[None]:
    """Write what anybody logs (of trainkit from INFO on, of others from WARNING on) into a file.

    Where nobody has set logging up, warnings and errors go to standard error too, as they would
    without this file.

    Args:
        path: Of the file.
        screen: False: nothing goes to standard error.
    """
    root, own = logging.getLogger(), logging.getLogger("trainkit")
    handlers: list[logging.Handler] = []
    unopened = ""
    try:
        file = _File(path)
        file.setFormatter(_WithoutSecrets(_FORMAT))
        handlers.append(file)
    except OSError as error:
        unopened = error.strerror or str(error)
    if screen and not root.handlers:
        shown = logging.StreamHandler()
        shown.setLevel(logging.WARNING)
        shown.setFormatter(_OneLine("trainkit: %(message)s"))
        shown.addFilter(lambda r: r.name not in _FILE_ONLY or r.levelno < logging.ERROR)
        handlers.append(shown)
    level = own.level
    if own.getEffectiveLevel() > logging.INFO:
        own.setLevel(logging.INFO)
    for handler in handlers:
        root.addHandler(handler)
    if unopened:
        _log.warning("%s cannot be written (%s); the run goes on without it", path, unopened)
    try:
        yield
    finally:
        for handler in handlers:
            root.removeHandler(handler)
            with suppress(OSError):  # the disk may be full
                handler.close()
        own.setLevel(level)


class _File(logging.FileHandler):
    """Says once that it cannot be written, and not once per line."""

    _told = False

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", errors="backslashreplace")
        process = os.getpid()
        # A forked loader worker may log warnings; only the parent reports the state of the run.
        self.addFilter(lambda r: os.getpid() == process or r.name not in _FILE_ONLY)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self.stream is not None and not os.path.exists(self.baseFilename):  # it was deleted
                os.makedirs(os.path.dirname(self.baseFilename), exist_ok=True)
                self.stream.close()
                self.stream = self._open()
        except OSError:
            self.handleError(record)
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        error = sys.exception()
        if not isinstance(error, OSError | ValueError):
            super().handleError(record)
        elif not self._told:
            self._told = True  # first, because what is logged below comes back here
            reason = getattr(error, "strerror", None) or error
            _log.warning("%s cannot be written (%s); training goes on", self.baseFilename, reason)


class _WithoutSecrets(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return masked(super().format(record))


class _OneLine(logging.Formatter):
    """Leaves the traceback, and the lines of what prints itself on many, to the file."""

    def formatException(self, ei: object) -> str:  # noqa: N802
        return ""

    def format(self, record: logging.LogRecord) -> str:
        record.exc_text = None  # another formatter may have left its traceback here
        text = super().format(record)
        record.exc_text = None  # the next formatter makes its own
        return " ".join(masked(text).split())
