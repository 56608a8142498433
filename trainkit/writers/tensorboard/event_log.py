"""The events of one folder: written in whole records, and tried again where that fails."""

import errno
import os
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

from trainkit.writers.outage import Outage
from trainkit.writers.tensorboard.protobuf import event, message
from trainkit.writers.tensorboard.records import RecordFile, event_files, new_event_file, record

__all__ = ["EventLog"]

_FILE_VERSION = b"\x1a"  # of event.proto: a string
_SESSION_START = message(b"\x3a", b"\x08\x01")  # of event.proto: a SessionLog, its status START
# What waits is written when it comes to this many bytes, flushed or not; and so much at a time.
_BUFFER = 1 << 20
# So many bytes are kept while they cannot be written; the oldest go first.
KEPT = 1 << 24
# The disk is full: the same file can be continued when there is room again. After any other
# failure (an I/O error, a file too large, a server that forgot it) the next try is a new file.
_FULL = {errno.ENOSPC, errno.EDQUOT}


class EventLog:
    """Appends events to a file of a folder, and never raises once it is open.

    A write that fails leaves whole records only, so that TensorBoard reads all that came before
    and all that comes after. What could not be written is kept, up to 16 MiB, and tried again:
    in the same file where the disk was full, else in a new one, which is read after it. A file
    that somebody deleted is begun anew, with its folder.

    Args:
        directory: Made if need be.
        session_start: The first step of a session of a training that can be resumed: 0, or the
            first step that is still to come. The first file of the folder, and the first of each
            later session, then say so; a TensorBoard that is open drops what it has read from
            there on. None: nothing is said.

    Raises:
        OSError: The directory cannot be made or written.
    """

    def __init__(self, directory: Path, session_start: int | None = None) -> None:
        # The working folder may be another one when a new file is begun.
        self.directory = Path(os.path.abspath(directory))
        self.outage = Outage(f"event files in {str(directory)!r}", self.directory.parent)
        self.closed = False
        self.pid = os.getpid()
        self._lock = threading.Lock()
        # First and last step, number of steps, and their records.
        self._waiting: deque[tuple[int, int, int, bytes]] = deque()
        self._size = 0
        self._written: tuple[int, int, int] | None = None  # to the file that is open
        if session_start == 0 and event_files(self.directory):  # it has begun there
            session_start = None
        self._file: RecordFile | None = self._begin(session_start)

    @property
    def path(self) -> Path:
        """Of the newest file, or the folder."""
        return self.directory if self._file is None else self._file.path

    def is_ours(self) -> bool:
        """Whether this is the process that opened it."""
        return os.getpid() == self.pid

    def add(self, step: int, data: bytes) -> None:
        """Append one event."""
        self.add_records(step, step, 1, record(data))

    def add_records(self, first: int, last: int, count: int, records: bytes) -> None:
        """Append the records of several events, of these steps."""
        with self._lock:
            self._waiting.append((first, last, count, records))
            self._size += len(records)
            if self._size >= _BUFFER:
                self._write_out()

    def flush(self) -> None:
        """Hand everything to the operating system: it survives the death of this process."""
        with self._lock:
            self._look_whether_it_is_there()
            self._write_out()

    def close(self) -> None:
        """Try a last time to write what waits, and close the file."""
        with self._lock:
            if self.closed or not self.is_ours():
                return
            self.closed = True
            self._look_whether_it_is_there()
            self._write_out(at_once=True)
            for first, last, count, _ in self._waiting:
                self.outage.lose(first, last, count)
            self._waiting.clear()
            self.outage.close()
            if self._file is not None:
                with suppress(OSError):
                    self._file.close()

    def _begin(self, session_start: int | None = None) -> RecordFile:
        file = new_event_file(self.directory)
        try:
            version = message(_FILE_VERSION, b"brain.Event:2")
            file.append(record(event(0, time.time(), version)))
            if session_start is not None:
                file.append(record(event(session_start, time.time(), _SESSION_START)))
        except BaseException:
            file.discard()
            raise
        return file

    def _write_out(self, at_once: bool = False) -> None:
        if not self.is_ours():
            self._waiting.clear()
            return
        if not self._waiting or (self.outage.waits and not at_once):
            self._drop()
            return
        try:
            if self._file is None:
                self._file = self._begin()
            while self._waiting:
                some, size = 0, 0
                while some < len(self._waiting) and (not some or size < _BUFFER):
                    size += len(self._waiting[some][3])
                    some += 1
                self._file.append(b"".join(self._waiting[i][3] for i in range(some)))
                for _ in range(some):
                    self._note(*self._waiting.popleft()[:3])
                self._size -= size
        except OSError as error:
            self._leave_file(error)
            self.outage.fail(error)
            self._drop()
        else:
            self.outage.end()

    def _leave_file(self, error: OSError) -> None:
        """Let the next try begin a new file, where this one is not to be continued."""
        file = self._file
        if file is not None and (file.torn or error.errno not in _FULL):
            with suppress(OSError):
                file.close()
            self._file = self._written = None

    def _look_whether_it_is_there(self) -> None:
        if self._file is None or not self.is_ours():
            return
        try:
            removed = self._file.removed
        except OSError:  # network file systems may fail here; the next write reports it
            return
        if removed:
            self.outage.fail(FileNotFoundError(2, "it was deleted", str(self._file.path)))
            self.outage.retry_at_once()
            if self._written is not None:
                self.outage.lose(*self._written)
            self._file.close()
            self._file = self._written = None

    def _note(self, first: int, last: int, count: int) -> None:
        if self._written is not None:
            first, last = min(first, self._written[0]), max(last, self._written[1])
            count += self._written[2]
        self._written = first, last, count

    def _drop(self) -> None:
        """Keep no more than may be kept."""
        while self._size > KEPT and self._waiting:
            first, last, count, records = self._waiting.popleft()
            self._size -= len(records)
            self.outage.lose(first, last, count)
