"""A handler or filter of a log that raises never ends a training."""

import logging

__all__ = ["keep_in"]


def keep_in(name: str) -> None:
    """From now on a fault in what handles the records of this logger goes no further.

    It is told as Python's own handlers tell theirs: on standard error (`logging.raiseExceptions`).

    Args:
        name: Of the logger.
    """
    logger = logging.getLogger(name)
    handle = logger.handle

    def guarded(record: logging.LogRecord) -> None:
        try:
            handle(record)
        except Exception:
            logging.Handler().handleError(record)

    logger.handle = guarded  # type: ignore[method-assign]
