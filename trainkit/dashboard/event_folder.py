"""Event files that are written at once: a few summaries that belong to no writer."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from trainkit.writers.tensorboard.event_log import EventLog
from trainkit.writers.tensorboard.protobuf import event, message

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

__all__ = ["write_events"]

_SUMMARY = b"\x2a"  # of event.proto: a message


def write_events(
    folder: Path, events: "Iterable[tuple[int, Summary]]", session_start: int | None = None
) -> Path:
    """Write a complete event file into a folder, behind those that are there.

    Args:
        folder: Made if need be.
        events: Step and content of each.
        session_start: See `EventLog`.

    Returns:
        The file.

    Raises:
        OSError: It cannot be written.
    """
    log = EventLog(folder, session_start)
    path = log.path
    for step, summary in events:
        log.add(step, event(step, time.time(), message(_SUMMARY, summary.SerializeToString())))
    log.close()
    if log.outage.error is not None:
        raise OSError(f"{path} could not be written: {log.outage.error}") from log.outage.error
    return path
