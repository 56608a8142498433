"""TFRecord files: each record with its length and two checksums, written in whole records."""

import itertools
import os
import socket
import struct
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import google_crc32c

__all__ = ["RecordFile", "event_files", "masked", "new_event_file", "record"]

_PREFIX = "events.out.tfevents."
_counter = itertools.count()


class RecordFile:
    """A new file, to which whole records are appended; only the process that opened it writes.

    Python's own buffered files are not used: a forked child would write their buffer again.

    Args:
        path: Of a file that does not exist; a symbolic link is not followed.

    Raises:
        FileExistsError: The file exists.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("xb", buffering=0)
        self._pid = os.getpid()
        self._size = 0
        # The end is not that of a record, and cannot be cut off: nothing may come after it.
        self.torn = False

    @property
    def removed(self) -> bool:
        """Whether somebody deleted the file: what is written to it reaches nobody."""
        return os.fstat(self._file.fileno()).st_nlink == 0

    def append(self, records: bytes) -> None:
        """Append whole records: all of them, or none.

        Raises:
            OSError: They cannot be written. What was written of them is cut off again.
        """
        if os.getpid() != self._pid:
            return
        left = memoryview(records)
        try:
            while left:
                left = left[self._file.write(left) :]
        except BaseException:
            # A reader stops at half a record, whatever comes after it in this file.
            try:
                self._file.truncate(self._size)
                self._file.seek(self._size)
            except OSError:
                self.torn = True
            raise
        self._size += len(records)

    def discard(self) -> None:
        """Close the file and delete it."""
        self.close()
        with suppress(OSError):
            self.path.unlink()

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        if os.getpid() == self._pid:
            self._file.close()


def record(data: bytes) -> bytes:
    """The bytes of one record."""
    length = struct.pack("<Q", len(data))
    return b"".join((length, _checksum(length), data, _checksum(data)))


def event_files(directory: Path) -> list[str]:
    """Names of the event files in a folder, in the order in which TensorBoard reads them."""
    try:
        return sorted(name for name in os.listdir(directory) if "tfevents" in name)
    except OSError:
        return []


def new_event_file(directory: Path) -> RecordFile:
    """A new file in the directory, named as TensorBoard expects; the directory is made.

    TensorBoard reads the files of a folder in the order of their names and never goes back, so
    the name comes after those that are there, whatever the clock says.

    Raises:
        OSError: The directory cannot be made or written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        seconds = int(time.time())
        last = max(filter(_seconds_in, event_files(directory)), default="")
        while True:
            name = f"{_PREFIX}{seconds:010d}.{_tail()}"
            if name <= last:
                seconds = max(seconds, _seconds_in(last)) + 1
                continue
            try:
                return RecordFile(directory / name)
            except FileExistsError:
                continue
    except OSError as error:
        raise type(error)(
            error.errno,
            f"cannot write event files into {str(directory)!r} ({error.strerror}); "
            "name a directory that can be created and written",
        ) from error


def _tail() -> str:
    return f"{socket.gethostname()}.{os.getpid()}.{next(_counter)}"


def _seconds_in(name: str) -> int:
    found = name.removeprefix(_PREFIX).partition(".")[0]
    return int(found) if found.isdecimal() and len(found) == 10 else 0


def masked(crc: Any) -> Any:
    """A CRC32C as the format wants it (TensorFlow's `masked_crc32c`): a number, or an array."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _checksum(data: bytes) -> bytes:
    return struct.pack("<I", masked(google_crc32c.value(data)))
