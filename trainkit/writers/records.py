"""TFRecord files: each record with its length and two checksums, written in whole records."""

import itertools
import os
import socket
import struct
import threading
import time
from pathlib import Path

import google_crc32c

__all__ = ["RecordFile", "new_event_file"]

# What waits in memory is written when it comes to this many bytes, flushed or not.
_BUFFER = 1 << 20
_counter = itertools.count()


class RecordFile:
    """Appends records to a new file, buffered; only the process that opened it writes.

    Python's own buffered files are not used: a forked child would write their buffer again.

    Args:
        path: Of a file that does not exist.

    Raises:
        FileExistsError: The file exists.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("xb", buffering=0)
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._waiting: list[bytes] = []
        self._size = 0

    def write(self, *records: bytes) -> None:
        """Append records."""
        with self._lock:
            for data in records:
                length = struct.pack("<Q", len(data))
                self._waiting += (length, _checksum(length), data, _checksum(data))
                self._size += len(data) + 16
                if self._size >= _BUFFER:
                    self._write_out()

    def flush(self) -> None:
        """Hand everything to the operating system: it survives the death of this process."""
        with self._lock:
            self._write_out()

    def close(self) -> None:
        """Flush and close; closing twice is harmless."""
        if self._file.closed or os.getpid() != self._pid:
            return
        try:
            self.flush()
        finally:
            self._file.close()

    def _write_out(self) -> None:
        left = memoryview(b"".join(self._waiting))
        self._waiting.clear()
        self._size = 0
        if os.getpid() != self._pid:
            return
        while left:
            left = left[self._file.write(left) :]


def new_event_file(directory: Path) -> RecordFile:
    """A new file in the directory, named as TensorBoard expects; the directory is made.

    Raises:
        OSError: The directory cannot be made or written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        while True:
            name = f"{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(_counter)}"
            try:
                return RecordFile(directory / f"events.out.tfevents.{name}")
            except FileExistsError:
                continue
    except OSError as error:
        raise type(error)(
            error.errno,
            f"cannot write event files into {str(directory)!r} ({error.strerror}); "
            "name a directory that can be created and written",
        ) from error


def _checksum(data: bytes) -> bytes:
    """CRC32C, rotated and shifted as the format wants it (TensorFlow's `masked_crc32c`)."""
    crc = google_crc32c.value(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)
