"""Python's logging of a run into its `run.log`."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["logged_to"]

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# Loggers whose errors come to the user as exceptions anyway.
_FILE_ONLY = frozenset({"trainkit.training", "ignite.engine.engine.Engine"})


@contextmanager
def logged_to(path: Path) -> Iterator[None]:
    """Write what anybody logs (of trainkit from INFO on, of others from WARNING on) into a file.

    Where nobody has set logging up, warnings and errors go to standard error too, as they would
    without this file.
    """
    root, own = logging.getLogger(), logging.getLogger("trainkit")
    file = logging.FileHandler(path, encoding="utf-8")
    file.setFormatter(logging.Formatter(_FORMAT))
    handlers: list[logging.Handler] = [file]
    if not root.handlers:
        screen = logging.StreamHandler()
        screen.setLevel(logging.WARNING)
        screen.setFormatter(_OneLine("trainkit: %(message)s"))
        screen.addFilter(lambda record: record.name not in _FILE_ONLY)
        handlers.append(screen)
    level = own.level
    if own.getEffectiveLevel() > logging.INFO:
        own.setLevel(logging.INFO)
    for handler in handlers:
        root.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()
        own.setLevel(level)


class _OneLine(logging.Formatter):
    """Leaves the traceback, and the lines of what prints itself on many, to the file."""

    def formatException(self, ei: object) -> str:  # noqa: N802
        return ""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        record.exc_text = None  # the next formatter makes its own
        return " ".join(text.split())
