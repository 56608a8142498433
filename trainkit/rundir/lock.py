"""One process per run: a lock that ends with the process that holds it."""

import errno
import logging
import os
import platform
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["RunLock", "RunLockedError"]

_log = logging.getLogger("trainkit.rundir")

# The system's lock is one of a process: it does not keep a second run of this one out.
_held: set[str] = set()


class RunLockedError(ValueError):
    """Another process is at work in the folder."""


class RunLock:
    """The right to write into the folder of a run, for the life of the run.

    The operating system ends the lock with the process, however that ends; a killed run leaves
    nothing that would have to be removed. Worker processes do not inherit it.

    Args:
        path: Of the lock file, which stays: removing it would let two processes in.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._key = os.path.realpath(path)
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            RunLockedError: Another run has it; names its process.
            OSError: The file cannot be made.
        """
        if self._key in _held:
            raise RunLockedError(f"{self._path.parent} is in use by another run of this process")
        # Not `w`: the name of the process that has the lock stands in it.
        file = open(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666), "r+")  # noqa: SIM115
        try:
            if fcntl is not None:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                owner = file.read().strip() or "another process"
                file.close()
                raise RunLockedError(f"{self._path.parent} is in use by {owner}") from None
            _log.warning(
                "%s cannot be locked (%s): nothing keeps a second run out of this folder",
                self._path, error.strerror,
            )  # fmt: skip
        file.seek(0)
        file.truncate()
        file.write(f"process {os.getpid()} on {platform.node()}\n")
        file.flush()
        self._file = file
        _held.add(self._key)

    def release(self) -> None:
        """Let others in; harmless where the lock is not held."""
        if self._file is not None:
            self._file.close()
            self._file = None
            _held.discard(self._key)
