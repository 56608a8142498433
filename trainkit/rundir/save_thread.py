"""Write checkpoints beside the training, one at a time."""

import logging
import os
import threading
from collections.abc import Callable

from trainkit.rundir.bookkeeping import Bookkeeping

__all__ = ["SaveThread"]

_log = logging.getLogger("trainkit.rundir")


# Held while a file is written. A process that forks (a loader starts its workers) waits for it: in
# the child the locks that the thread holds just then would never be released.
_saving = threading.Lock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_saving.acquire, after_in_parent=_saving.release, after_in_child=_saving.release
    )


class SaveThread:
    """Runs a function that writes a file in a thread; at most one at a time.

    A disk's errors are told by the bookkeeping, and the next save tries again. Any other error
    means that the state cannot be saved at all; it is logged, and stands in `failure`.

    Args:
        bookkeeping: Told of errors of the disk.
    """

    def __init__(self, bookkeeping: Bookkeeping) -> None:
        self._bookkeeping = bookkeeping
        self._thread: threading.Thread | None = None
        self.failure: Exception | None = None

    def start(self, what: str, write: Callable[[], object]) -> None:
        """Write, after the file before is complete.

        Args:
            what: What to call it.
            write: Called in the thread.
        """
        self.wait()
        # No daemon: when the interpreter ends, the file is completed first.
        self._thread = threading.Thread(
            target=self._write, args=(what, write), name="trainkit-checkpoint"
        )
        self._thread.start()

    def wait(self) -> None:
        """Return when nothing is being written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _write(self, what: str, write: Callable[[], object]) -> None:
        try:
            with _saving:
                self._bookkeeping.keep(what, write)
        except Exception as error:
            if self.failure is None:
                _log.error("%s cannot be saved: %s", what, error, exc_info=error)
            self.failure = error
