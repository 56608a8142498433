"""Write the files of a run; report a file that cannot be written, and try again later."""

import logging
from collections.abc import Callable

__all__ = ["Bookkeeping"]

_log = logging.getLogger("trainkit.rundir")


class Bookkeeping:
    """Keeps what a disk does (full, read-only, gone) from ending a training.

    Of each file the first failure is told, and that it is written again.
    """

    def __init__(self) -> None:
        self.failing: dict[str, str] = {}

    def keep(self, what: str, write: Callable[[], object]) -> bool:
        """Write a file, or log that it was not possible.

        Args:
            what: What to call it.
            write: May raise an `OSError`; anything else is no fault of the disk and is passed on.

        Returns:
            Whether it was written.
        """
        try:
            write()
        except OSError as error:
            reason = error.strerror or str(error)
            if what not in self.failing:
                _log.warning(
                    "%s cannot be written (%s); training goes on, and it is tried again",
                    what, reason,
                )  # fmt: skip
            self.failing[what] = reason
            return False
        if self.failing.pop(what, None) is not None:
            _log.warning("%s is written again", what)
        return True
